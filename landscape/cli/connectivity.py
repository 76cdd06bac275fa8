"""`landscape connectivity`: the barriers between all pairs of several minima."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options, path_options
from landscape.cli.interpolate import MINIMUM


def connectivity(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help=f"Two or more minima. {MINIMUM}")],
    objective: options.Source = None,
    settings: options.Settings = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: connectivity.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="KIND", help="linear, or bezier (fitted for every pair). Default: linear"),
    ] = None,
    epochs: path_options.Epochs = None,
    align: path_options.Align = None,
    matching: path_options.Matching = None,
    restarts: path_options.Restarts = None,
    batchnorm: path_options.BatchNorm = None,
    points: Annotated[int | None, typer.Option(help="Points of every way, both ends included. Default: 11")] = None,
    subsamples: path_options.Subsamples = None,
    seed: path_options.Seed = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    figure: options.Figure = None,
    no_figure: options.NoFigure = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Compute the barrier on the way from each minimum to each other, and their distances.

    Minima that are joined by ways without a barrier form a cluster. The same command again continues a run that was
    interrupted.
    """
    flags: dict[str, Any] = dict(locals())
    flags["minima"] = tuple(flags.pop("files"))
    from landscape.cli.job import read_job
    from landscape.cli.jobs.connectivity import ConnectivityCommand, ConnectivityJob
    from landscape.cli.jobs.tested import given_flags
    from landscape.cli.running import run

    return run(ConnectivityCommand(read_job(ConnectivityJob, flags["job"], given_flags(flags))))
