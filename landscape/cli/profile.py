"""`landscape profile`: the loss along a line through parameter space, with a band for the choice of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options, plane_options


def profile(
    run: plane_options.Runs = None,
    objective: options.Source = None,
    settings: options.Settings = None,
    checkpoint: options.Checkpoint = None,
    at: options.At = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: profile.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    plane: plane_options.Plane = None,
    pairs: plane_options.Pairs = None,
    checkpoints: plane_options.Checkpoints = None,
    path: plane_options.PathFile = None,
    components: plane_options.Components = None,
    normalize: plane_options.Normalize = None,
    parameters: plane_options.Parameters = None,
    axis: Annotated[int | None, typer.Option(help="Which axis of the plane, 1 or 2. Default: 1")] = None,
    points: Annotated[int | None, typer.Option(help="Points on the line. Default: 51")] = None,
    extent: Annotated[
        tuple[float, float] | None, typer.Option(metavar="S_MIN S_MAX", help="Default: that of the plane.")
    ] = None,
    subsamples: Annotated[
        int | None, typer.Option(help="Random parts of the data, from which the band is made. Default: 50")
    ] = None,
    seed: plane_options.Seed = None,
    test: plane_options.Test = None,
    test_settings: plane_options.TestSettings = None,
    quantity: plane_options.Quantity = None,
    batchnorm: plane_options.BatchNorm = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    figure: options.Figure = None,
    no_figure: options.NoFigure = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Evaluate the loss along one axis of a plane, with the band in which its mean over all data of this kind is.

    The plane is chosen as for landscape surface: along an eigenvector, a principal component of a run, from one
    checkpoint to another, or in a random direction. The same command again continues a run that was interrupted.
    """
    flags: dict[str, Any] = dict(locals())
    from landscape.cli.jobs.plane import read_plane_job
    from landscape.cli.jobs.profile import ProfileCommand, ProfileJob
    from landscape.cli.running import run as run_command

    return run_command(ProfileCommand(read_plane_job(ProfileJob, flags)))
