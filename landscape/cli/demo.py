"""`landscape demo`: two optimizers train one network; its curvature, their landscape, videos, a page."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from landscape.errors import InputError

RANKS = 2
OBJECTIVE = "zoo:digits-mlp"  # without batch norm, whose statistics would not fit most of the plane
NOT_CONVERGED = 3
EPOCHS = 12
EVERY = 3  # steps between two recorded checkpoints
OPTIMIZERS = {
    "sgd": ["--lr", "0.05", "--optimizer-set", "momentum=0.9"],
    "prox_sgd": ["--lr", "0.3", "--optimizer-set", "l1=1e-4"],
}
ALONG = ["--every", "9"]  # checkpoints, of 117: where the curvature is looked at on the way
SKETCH = ["--tol", "0.3", "--max-products", "150", "--no-figure"]


@dataclass(frozen=True)
class Step:
    """One command of the demo.

    Attributes
    ----------
    title : str
    arguments : list of str
        Of `landscape`.
    shared : bool
        Whether two ranks share the work.
    """

    title: str
    arguments: list[str]
    shared: bool = False


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where everything is written.")] = Path(
        "landscape-demo"
    ),
) -> int:
    """Train a small network with two optimizers, and show its curvature, its landscape and the way they took."""
    from landscape.parallel import under_launcher
    from landscape.store import check_writable

    if under_launcher():
        raise InputError("the demo starts its own ranks: run it without mpiexec")
    check_writable(folder / "surface.h5")
    started = time.monotonic()
    launcher = _launcher()
    steps = list(plan(folder))
    for number, step in enumerate(steps, 1):
        command = [*(launcher if step.shared else []), sys.executable, "-m", "landscape", *step.arguments]
        print(f"\n[{number}/{len(steps)}] {step.title}\n$ {shlex.join(command)}", flush=True)
        code = subprocess.run(command, check=False).returncode
        if code not in (0, NOT_CONVERGED):
            return code if code >= 0 else 128 - code
    print(
        f"\nDone in {time.monotonic() - started:.0f} s. Open {folder / 'report.html'} in a browser, {folder}/*.mp4 in "
        f"any player, and look at the figures {folder}/*.png; landscape info FILE explains any of the .h5 files.",
        flush=True,
    )
    return 0


def plan(folder: Path) -> Iterator[Step]:
    """The commands of the demo, in order; each is one that a user could type."""

    def file(name: str) -> str:
        return str(folder / name)

    runs = {name: file(f"{name}.h5") for name in OPTIMIZERS}
    for name, options in OPTIMIZERS.items():
        training = ["--epochs", str(EPOCHS), "--every", str(EVERY), "-o", runs[name]]
        yield Step(
            f"train with {name}, recording every {EVERY} steps",
            ["train", "--objective", OBJECTIVE, "--optimizer", name, *options, *training],
        )
    sketches, along, spectrum = file("spectra.h5"), file("eigenvalues.h5"), file("spectrum.h5")
    yield Step(
        "sketches of the Hessian's eigenvalue density along SGD",
        ["spectrum", runs["sgd"], *ALONG, *SKETCH, "-o", sketches],
        shared=True,
    )
    yield Step(
        "its largest eigenvalues along SGD", ["eigenpairs", runs["sgd"], *ALONG, "-k", "3", "-o", along], shared=True
    )
    yield Step("the density at the end of SGD", ["spectrum", "--checkpoint", runs["sgd"], "-o", spectrum], shared=True)
    yield Step(
        "the leading eigenvectors there",
        ["eigenpairs", "--checkpoint", runs["sgd"], "-k", "10", "-o", file("eigenpairs.h5")],
        shared=True,
    )
    surface, both = file("surface.h5"), [argument for run in runs.values() for argument in ("--run", run)]
    yield Step(
        "the loss on the plane of both runs",
        ["surface", *both, "--resolution", "101", "--adaptive", "--margin", "0.3", "-o", surface],
        shared=True,
    )
    seen = ["--densities", sketches, "--eigenvalues", along]
    yield Step("the video", ["video", surface, *seen, "-o", file("landscape.mp4")])
    yield Step(
        "the same as a relief that turns",
        ["video", surface, "--layout", "flyover", "--size", "720p", "-o", file("flyover.mp4")],
    )
    yield Step(
        "everything on one page",
        ["report", *runs.values(), surface, spectrum, sketches, along, "-o", file("report.html")],
    )


def _launcher() -> list[str]:
    """How to start the ranks; nothing, with a warning, where there is no MPI."""
    from landscape.parallel import mpiexec_command

    try:
        return mpiexec_command(RANKS)
    except InputError as error:
        print(f"landscape: {error}; going on with a single process", file=sys.stderr, flush=True)
        return []
