"""`landscape interpolate`: the loss and the spectrum on a path between two minima."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options, path_options, plane_options

MINIMUM = "A .pt (tensors only), .safetensors or recorded run (.h5: its last checkpoint; run.h5@3: the fourth)."


def interpolate(
    a: Annotated[str, typer.Argument(metavar="A", help=MINIMUM, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="As A, of the same model.", show_default=False)],
    objective: options.Source = None,
    settings: options.Settings = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The result. Default: interpolate.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    path: path_options.PathKind = None,
    epochs: path_options.Epochs = None,
    images: path_options.Images = None,
    save_path: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="Keep the path, for landscape surface --plane path.")
    ] = None,
    align: path_options.Align = None,
    matching: path_options.Matching = None,
    restarts: path_options.Restarts = None,
    batchnorm: path_options.BatchNorm = None,
    points: Annotated[int | None, typer.Option(help="Points from end to end, both included. Default: 25")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Go beyond both ends by this share of the path, with the same spacing.")
    ] = None,
    spectra: Annotated[
        bool | None,
        typer.Option("--spectra", help="Compute the eigenvalue density at every point, with five eigenpairs."),
    ] = None,
    pairs: Annotated[int | None, typer.Option(help="So many of the largest eigenpairs at every point.")] = None,
    tol: Annotated[float | None, typer.Option(help="Predicted error of the densities. Default: 0.05")] = None,
    test: plane_options.Test = None,
    test_settings: plane_options.TestSettings = None,
    subsamples: path_options.Subsamples = None,
    seed: path_options.Seed = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.h5", help="An earlier result to be drawn on the left of this one; may be repeated."),
    ] = None,
    figure: options.Figure = None,
    no_figure: options.NoFigure = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Evaluate loss, curvature and, if asked, the whole spectrum on a path between two minima A and B.

    The loss is compared with the straight line between the losses of the ends: its largest excess is the barrier. The
    same command again continues a run that was interrupted.
    """
    flags: dict[str, Any] = dict(locals())
    flags["minima"] = (flags.pop("a"), flags.pop("b"))
    from landscape.cli.job import read_job
    from landscape.cli.jobs.interpolate import InterpolateCommand, InterpolateJob
    from landscape.cli.jobs.tested import given_flags
    from landscape.cli.running import run

    return run(InterpolateCommand(read_job(InterpolateJob, flags["job"], given_flags(flags))))
