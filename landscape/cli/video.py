"""`landscape video`: recorded runs walking over their landscape, as an MP4 file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options


def video(
    surface: Annotated[
        Path | None, typer.Argument(metavar="SURFACE.h5", help="Result of landscape surface with recorded runs.")
    ] = None,
    densities: Annotated[
        list[str] | None,
        typer.Option(
            "--densities",
            metavar="[RUN:][STEP:]FILE.h5",
            help="Eigenvalue density at a step of a run, for a panel; may be repeated. landscape spectrum "
            "--checkpoint run.h5 --at INDEX notes run and step; otherwise write them in front.",
        ),
    ] = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.mp4", help="The video. Default: video.mp4")
    ] = None,
    overwrite: options.Overwrite = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second. Default: 30")] = None,
    frames: Annotated[
        int | None, typer.Option(help="How many. Default: one per checkpoint, at least 150, at most 1800.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Pixels, both even. Default: 1920x1080")
    ] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="A metric on the map. Default: the loss")] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--no-log", help="Logarithmic colours. Default: where the range asks for it")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Written above the map. Default: the network")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that draw, without MPI. Default: 1")] = None,
) -> int:
    """Show how recorded runs move over their landscape: losses, distance from the plane and, with --densities, spectra.

    Runs unchanged on many ranks, which share the frames: mpiexec -n 8 landscape video ... The file has the same bytes
    with any number of ranks or workers, and the same command again recognizes a video that is complete.
    """
    flags: dict[str, Any] = {name: value for name, value in locals().items() if name != "job"}
    from landscape.cli.job import read_job
    from landscape.cli.jobs.video import VideoCommand, VideoJob
    from landscape.cli.running import run

    return run(VideoCommand(read_job(VideoJob, job, {**flags, "densities": densities or None})))
