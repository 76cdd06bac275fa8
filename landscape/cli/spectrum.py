"""`landscape spectrum`: the eigenvalue density of a trained network's curvature."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import signal
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from landscape import __version__
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.job import SpectrumJob
    from landscape.curvature import Operator
    from landscape.parallel import ProcessGrid
    from landscape.records import SpectralDensity

LIBRARIES = ("torch", "numpy", "scipy", "h5py")
NOT_CONVERGED = 3


def spectrum(
    objective: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="zoo:NAME, FILE.py:function or module:function that returns an Objective."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Argument of that function, a Python literal; may be repeated."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parameters from a .pt (tensors only) or .safetensors file.")
    ] = None,
    job: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Read these options from a file; flags win.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: spectrum.h5")
    ] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Replace a result of another configuration.")
    ] = None,
    operator: Annotated[
        str | None, typer.Option(help="hessian, gauss-newton or fisher. Default: hessian", metavar="NAME")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="deflated (one run until --tol) or classical (--probes × --steps). Default: deflated"
        ),
    ] = None,
    tol: Annotated[
        float | None, typer.Option(help="Error asked for, relative to the spread of the eigenvalues. Default: 0.05")
    ] = None,
    max_products: Annotated[int | None, typer.Option(help="At most so many operator applications (deflated).")] = None,
    probes: Annotated[int | None, typer.Option(help="Random start vectors (classical). Default: 10")] = None,
    steps: Annotated[int | None, typer.Option(help="Products per probe (classical). Default: 80")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random start vectors. Default: 0")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Size of a random subset of the data. Default: all of it.")
    ] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Samples per forward pass.")] = None,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda. Default: where the model is.")] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The figure: .png, .svg or .pdf. Default: the output's name with .png"),
    ] = None,
    no_figure: Annotated[bool | None, typer.Option("--no-figure", help="Draw no figure.")] = None,
    checkpoint_seconds: Annotated[
        float | None, typer.Option(help="Save the state of the run so often. Default: 60")
    ] = None,
) -> int:
    """Compute the eigenvalue density of the curvature at a trained network, with error bars.

    Runs unchanged on many ranks: mpiexec -n 8 landscape spectrum ... The same command again continues a run that was
    interrupted, and recognizes one that is complete.
    """
    flags = {name: value for name, value in locals().items() if name not in ("job", "settings")}
    from landscape.cli.job import parse_settings, read_job

    asked = read_job(job, {**flags, "set": parse_settings(settings) if settings else None})
    earlier = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run(asked)
    finally:
        signal.signal(signal.SIGTERM, earlier)


def run(job: SpectrumJob) -> int:
    """Do what a job asks for (collective); return the exit code."""
    from landscape.cli.agreement import agree
    from landscape.parallel import ProcessGrid, under_launcher

    grid = ProcessGrid.world() if under_launcher() else None  # alone, torch need not be loaded for a complete result
    found = agree(grid, lambda: _before(job))
    if found is not None and job.objective.startswith("zoo:"):
        return _already_complete(job, found, grid)

    grid = grid or ProcessGrid.world()
    from landscape.cli.progress import Progress
    from landscape.spectrum import DEFAULT_PRODUCTS, spectral_density

    with Progress("spectrum", grid.size, enabled=grid.rank == 0) as progress:
        operator = _build_operator(job, grid)
        function = operator.describe()
        if found is not None:
            agree(grid, lambda: _check_same_function(job, found, function))
            return _already_complete(job, found, grid)
        identity = {**function, **job.configuration()}
        if job.method == "deflated":
            identity["max_products"] = min(job.max_products or DEFAULT_PRODUCTS, operator.n)
        agree(grid, lambda: _drop_another_state(job, identity))
        from landscape.store import RunState

        state = RunState(job.state_folder, identity)
        density = spectral_density(
            operator,
            tol=job.tol,
            max_products=job.max_products,
            method=job.method,
            probes=job.probes,
            steps=job.steps,
            seed=job.seed,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )
    provenance = {**density.provenance, **_circumstances(job, operator)}
    density = dataclasses.replace(density, provenance=provenance)
    agree(grid, lambda: _write(job, density, state))
    return 0 if density.converged else NOT_CONVERGED


def _before(job: SpectrumJob) -> SpectralDensity | None:
    """Everything that can be said before the work; the result of the same request if it is there already."""
    from landscape.render.formats import check_suffix
    from landscape.store import check_writable, load
    from landscape.store.configuration import configuration_differences, differences_in_words

    asked = job.configuration()
    if job.figure_path is not None:
        check_suffix(job.figure_path)
    for path in (job.output, job.figure_path):
        if path is not None:
            check_writable(path)
    if not job.output.exists():
        return None
    try:
        density = load(job.output)
    except InputError as error:
        if job.overwrite:
            return None
        raise InputError(f"{error}; or pass --overwrite to replace it, or choose another --output") from error
    before = density.provenance.get("asked")
    if before is None and not job.overwrite:
        raise InputError(
            f"{job.output} was not written by this command but from Python; choose another --output, or pass "
            "--overwrite to replace it"
        )
    if before is None or configuration_differences(before, asked):
        if job.overwrite:
            return None
        differences = differences_in_words(before or {}, asked)
        raise InputError(
            f"{job.output} holds the result of another configuration:\n{differences}\n"
            "choose another --output, or pass --overwrite to replace it"
        )
    return density


def _check_same_function(job: SpectrumJob, found: SpectralDensity, function: dict[str, Any]) -> None:
    """Compare model, data and loss with those of the result: the user's code may read other data than before."""
    from landscape.store.configuration import configuration_differences, differences_in_words

    before = {name: found.provenance["configuration"].get(name) for name in function}
    if configuration_differences(before, function):
        raise InputError(
            f"{job.output} holds the result of the same command for another function:\n"
            f"{differences_in_words(before, function)}\nchoose another --output, or pass --overwrite to replace it"
        )


def _already_complete(job: SpectrumJob, density: SpectralDensity, grid: ProcessGrid | None) -> int:
    """Say what the result holds, by one rank."""
    from landscape.store import remove_run_state

    if grid is None or grid.rank == 0:
        remove_run_state(job.state_folder)  # a kill between writing the result and clearing its state
        print(f"already complete: {job.output} holds this very configuration")
        if job.figure_path is not None and not job.figure_path.exists():
            _draw(job, density)
        _say_result(job, density)
    return 0 if density.converged else NOT_CONVERGED


def _build_operator(job: SpectrumJob, grid: ProcessGrid) -> Operator:
    """The operator at the point that the job names (collective)."""
    from landscape import curvature
    from landscape.cli.checkpoint_file import read_checkpoint
    from landscape.cli.objective_source import load_objective
    from landscape.objective import checked_device

    if job.device is not None:
        checked_device(job.device)
    objective = load_objective(job.objective, job.objective_arguments, trained=job.checkpoint is None)
    if job.checkpoint is not None:
        objective = objective.at(read_checkpoint(job.checkpoint, objective.names))
    if grid.rank == 0:
        print(
            f"landscape spectrum: {job.operator} of {job.objective}, {objective.n} parameters, "
            f"{objective.samples} samples, {grid.size} rank{'s' if grid.size > 1 else ''} of "
            f"{grid.threads} thread{'s' if grid.threads > 1 else ''}",
            file=sys.stderr,
            flush=True,
        )
    operators: dict[str, type[Operator]] = {
        "hessian": curvature.Hessian,
        "gauss-newton": curvature.GaussNewton,
        "fisher": curvature.EmpiricalFisher,
    }
    return operators[job.operator](objective)


def _drop_another_state(job: SpectrumJob, identity: dict[str, Any]) -> None:
    """With --overwrite, a half-done run of another configuration goes; without, opening it says what differs."""
    from landscape.store import RunState, remove_run_state

    if job.overwrite:
        try:
            RunState(job.state_folder, identity)
        except InputError:
            remove_run_state(job.state_folder)


def _circumstances(job: SpectrumJob, operator: Operator) -> dict[str, Any]:
    """What the library cannot know: what was asked for, with which versions."""
    versions = {"landscape": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in LIBRARIES}
    return {
        "asked": job.configuration(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command_line": shlex.join(["landscape", *sys.argv[1:]]),
        "versions": versions,
        "platform": platform.platform(),
    }


def _write(job: SpectrumJob, density: SpectralDensity, state: Any) -> None:
    """Result, figure and words, by one rank."""
    from landscape import store

    store.save(density, job.output)
    state.clear()
    if job.figure_path is not None:
        _draw(job, density)
    _say_result(job, density)


def _draw(job: SpectrumJob, density: SpectralDensity) -> None:
    from landscape import render

    name = job.objective.removeprefix("zoo:")
    render.density(density, job.figure_path, title=f"{name}, {density.n} parameters")


def _say_result(job: SpectrumJob, density: SpectralDensity) -> None:
    from landscape.cli.summary import density_in_words

    print("\n".join(density_in_words(density)))
    print(f"result  {job.output}    to look at it: landscape info {shlex.quote(str(job.output))}")
    if job.figure_path is not None:
        print(f"figure  {job.figure_path}")
    sys.stdout.flush()
    if not density.converged:
        print(
            f"landscape: the result is written, but its predicted error {density.error:.2g} is larger than --tol "
            f"{density.tol:g}; more products (--max-products, or --steps and --probes) make it smaller",
            file=sys.stderr,
            flush=True,
        )


def _terminate(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)
