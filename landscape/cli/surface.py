"""`landscape surface`: the loss on a plane through parameter space, with recorded runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options


def surface(
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", metavar="RUN.h5", help="A recorded run, to be drawn; may be repeated."),
    ] = None,
    objective: options.Source = None,
    settings: options.Settings = None,
    checkpoint: options.Checkpoint = None,
    at: options.At = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: surface.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    plane: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="pca (of the runs), eigenvectors (--pairs), points (--checkpoints) or random (around a checkpoint). "
            "Default: the first for which there is what it needs.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="Result of landscape eigenpairs, for --plane eigenvectors.")
    ] = None,
    checkpoints: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(metavar="A B C", help="Three checkpoints or recorded runs (their ends), for --plane points."),
    ] = None,
    components: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="I J", help="Which principal components or eigenvectors, from 1. Default: 1 2"),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Directions among these parameters only, for pca and random planes."),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(metavar="N or NXxNY", help="Grid points along the axes. Default: 51")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Room around the runs, relative to their extent. Default: 0.25")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of random directions. Default: 0")] = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    figure: options.Figure = None,
    no_figure: options.NoFigure = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Evaluate the loss on a plane, at the checkpoints of recorded runs, and at their projections onto the plane.

    A recorded run of a zoo network remembers its objective; for one of yours give --objective again. Runs unchanged on
    many ranks: mpiexec -n 8 landscape surface ... The same command again continues a run that was interrupted, and
    recognizes one that is complete.
    """
    flags: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("job", "settings")}
    from landscape.cli.job import parse_settings, read_job
    from landscape.cli.jobs.surface import SurfaceCommand, SurfaceJob
    from landscape.cli.running import run as run_command

    flags = {name: value or None if name == "run" else value for name, value in flags.items()}
    asked = read_job(SurfaceJob, job, {**flags, "set": parse_settings(settings) if settings else None})
    return run_command(SurfaceCommand(asked))
