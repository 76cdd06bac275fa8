"""`landscape surface`: the loss on a plane through parameter space, with recorded runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options, plane_options


def surface(
    run: plane_options.Runs = None,
    objective: options.Source = None,
    settings: options.Settings = None,
    checkpoint: options.Checkpoint = None,
    at: options.At = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: surface.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    plane: plane_options.Plane = None,
    pairs: plane_options.Pairs = None,
    checkpoints: plane_options.Checkpoints = None,
    path: plane_options.PathFile = None,
    components: plane_options.Components = None,
    normalize: plane_options.Normalize = None,
    parameters: plane_options.Parameters = None,
    resolution: Annotated[
        str | None, typer.Option(metavar="N or NXxNY", help="Grid points along the axes. Default: 51")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Room around the runs, relative to their extent. Default: 0.25")
    ] = None,
    adaptive: Annotated[
        bool | None,
        typer.Option("--adaptive", help="Compute only the points that the picture needs, to 1 % of what it displays."),
    ] = None,
    seed: plane_options.Seed = None,
    test: plane_options.Test = None,
    test_settings: plane_options.TestSettings = None,
    quantity: plane_options.Quantity = None,
    batchnorm: plane_options.BatchNorm = None,
    model: Annotated[
        bool | None,
        typer.Option(
            "--model/--no-model",
            help="Compare with the quadratic model at the origin. Default: for planes of eigenvectors and gradient.",
        ),
    ] = None,
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
    flags: dict[str, Any] = dict(locals())
    from landscape.cli.jobs.plane import read_plane_job
    from landscape.cli.jobs.surface import SurfaceCommand, SurfaceJob
    from landscape.cli.running import run as run_command

    return run_command(SurfaceCommand(read_plane_job(SurfaceJob, flags)))
