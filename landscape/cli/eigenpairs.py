"""`landscape eigenpairs`: the directions of extreme curvature at a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options


def eigenpairs(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN.h5]", help="A recorded run: a series over its checkpoints.", show_default=False),
    ] = None,
    objective: options.Source = None,
    settings: options.Settings = None,
    checkpoint: options.Checkpoint = None,
    at: options.At = None,
    every: options.Every = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: eigenpairs.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    operator: options.Operator = None,
    product: options.Product = None,
    precision: options.Precision = None,
    k: Annotated[int | None, typer.Option("-k", help="How many eigenpairs. Default: 10")] = None,
    which: Annotated[
        str | None,
        typer.Option(metavar="END", help="largest, smallest, magnitude or both (k of each end). Default: largest"),
    ] = None,
    tol: Annotated[
        float | None, typer.Option(help="Residual asked for, relative to each eigenvalue. Default: 0.001")
    ] = None,
    max_products: Annotated[int | None, typer.Option(help="At most so many operator applications.")] = None,
    basis: Annotated[
        int | None, typer.Option(help="At most so many basis vectors. Default: what fits into 1 GiB, at most 300.")
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(
            help="Start vectors: copies of an eigenvalue up to so many are found. Default: 1, fewest products"
        ),
    ] = None,
    chain: Annotated[
        int | None, typer.Option(help="Of a series: checkpoints that pass their vectors on. Default: 8")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random start vector. Default: 0")] = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    figure: options.Figure = None,
    no_figure: options.NoFigure = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Compute extreme eigenvalues of the curvature at a trained network, with their eigenvectors and residuals.

    Runs unchanged on many ranks: mpiexec -n 8 landscape eigenpairs ... The same command again continues a run that was
    interrupted, and recognizes one that is complete. With a recorded run: at its checkpoints, each started from the
    vectors of the one before.
    """
    flags: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("job", "settings")}
    from landscape.cli.job import parse_settings, read_job
    from landscape.cli.jobs.eigenpairs import EigenpairsCommand, EigenpairsJob, EigenSeriesCommand
    from landscape.cli.running import run as run_command

    asked = read_job(EigenpairsJob, job, {**flags, "set": parse_settings(settings) if settings else None})
    return run_command((EigenSeriesCommand if asked.along else EigenpairsCommand)(asked))
