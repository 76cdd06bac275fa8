"""`landscape spectrum`: the eigenvalue density of a trained network's curvature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options


def spectrum(
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
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: spectrum.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    operator: options.Operator = None,
    product: options.Product = None,
    precision: options.Precision = None,
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
    data_sampling: Annotated[
        int | None, typer.Option(metavar="K", help="Errors of K eigenvalues and the trace from the choice of samples.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How Lanczos vectors are kept: full, selective, host, disk, float32, float16, bfloat16, minimal. "
            "Default: auto",
        ),
    ] = None,
    memory_budget: Annotated[
        str | None, typer.Option(metavar="BYTES", help="For these vectors, per rank, such as 4GiB.")
    ] = None,
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run", help="Only say what it would cost on 1 to 1024 ranks.")
    ] = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    figure: options.Figure = None,
    no_figure: options.NoFigure = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Compute the eigenvalue density of the curvature at a trained network, with error bars.

    Runs unchanged on many ranks: mpiexec -n 8 landscape spectrum ... The same command again continues a run that was
    interrupted, and recognizes one that is complete. With a recorded run: at its checkpoints.
    """
    flags: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("job", "settings")}
    from landscape.cli.job import parse_settings, read_job
    from landscape.cli.jobs.spectrum import DensitySeriesCommand, SpectrumCommand, SpectrumJob
    from landscape.cli.running import run as run_command

    asked = read_job(SpectrumJob, job, {**flags, "set": parse_settings(settings) if settings else None})
    if asked.dry_run:
        from landscape.cli.dry_run import forecast

        return forecast(SpectrumCommand(asked))
    return run_command((DensitySeriesCommand if asked.along else SpectrumCommand)(asked))
