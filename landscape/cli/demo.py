"""`landscape demo`: from nothing to a figure; trains a small network, then computes its spectrum on two ranks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from landscape.errors import InputError

RANKS = 2
OBJECTIVE = "zoo:digits-cnn"
NOT_CONVERGED = 3


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where everything is written.")] = Path(
        "landscape-demo"
    ),
) -> int:
    """Train a small network on handwritten digits and draw the spectrum of its Hessian."""
    from landscape.parallel import under_launcher
    from landscape.store import check_writable

    if under_launcher():
        raise InputError("the demo starts its own ranks: run it without mpiexec")
    checkpoint, output = folder / "digits-cnn.safetensors", folder / "spectrum.h5"
    check_writable(output)
    if checkpoint.exists():
        print(f"trained already: {checkpoint}", flush=True)
    else:
        _train(checkpoint)
    arguments = ["spectrum", "--objective", OBJECTIVE, "--checkpoint", str(checkpoint), "-o", str(output)]
    command = [*_start(), sys.executable, "-m", "landscape", *arguments]
    print(f"running: {shlex.join(command)}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code in (0, NOT_CONVERGED):
        figure, shown = output.with_suffix(".png"), shlex.quote(str(output))
        print(f"\nLook at {figure} in any image viewer; landscape info {shown} explains the numbers.", flush=True)
    return code if code >= 0 else 128 - code


def _train(path: Path) -> None:
    """Train the network of the zoo and keep its parameters, whole or not at all."""
    from safetensors.torch import save_file

    from landscape import zoo
    from landscape.parallel import ProcessGrid

    print("training a convolutional network on 1797 handwritten digits ...", flush=True)
    objective = zoo.build(OBJECTIVE.removeprefix("zoo:"), grid=ProcessGrid.serial())
    found = objective.evaluate()
    print(f"  {objective.n} parameters, loss {found['loss']:.4f}, {100 * found['accuracy']:.2f} % right", flush=True)
    tensors = {**objective.variables(), **objective.fixed, **objective.buffers}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, temporary)
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)  # safetensors writes for the owner alone
    os.replace(temporary, path)


def _start() -> list[str]:
    """How to start the ranks; nothing, with a warning, where there is no MPI."""
    from landscape.parallel import mpiexec_command

    try:
        return mpiexec_command(RANKS)
    except InputError as error:
        print(f"landscape: {error}; going on with a single process", file=sys.stderr, flush=True)
        return []
