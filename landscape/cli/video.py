"""`landscape video`: recorded runs walking over their landscape, or their spectra, as a video file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options


def video(
    surface: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SURFACE.h5",
            help="Result of landscape surface with recorded runs; several of one plane for the layout compare; a "
            "series of landscape spectrum, for the layout spectrum; a result of landscape interpolate, alone or with "
            "the surface of its plane, for the layout path.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="trajectory: the landscape with the runs; flyover: as a relief that turns; spectrum: the eigenvalue "
            "density over the training; compare: several runs, each with its own panels; path: from one minimum to the "
            "other. Default: trajectory, or what the files ask for.",
        ),
    ] = None,
    densities: Annotated[
        list[str] | None,
        typer.Option(
            "--densities",
            metavar="[RUN:][STEP:]FILE.h5",
            help="Eigenvalue density at a step of a run, or a series of them, for a panel; may be repeated. "
            "landscape spectrum --checkpoint run.h5 --at INDEX notes run and step; otherwise write them in front.",
        ),
    ] = None,
    eigenvalues: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.h5",
            help="Eigenvalues along a run (landscape eigenpairs run.h5 --every 10), for a panel; once for each run.",
        ),
    ] = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The video: .mp4, .webm or .gif. Default: video.mp4"),
    ] = None,
    overwrite: options.Overwrite = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second. Default: 30, a GIF 20")] = None,
    frames: Annotated[
        int | None, typer.Option(help="How many. Default: one per checkpoint, at least 150, at most 1800.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="720p, 1080p, 1440p, 4k, or WIDTHxHEIGHT. Default: 1080p, a GIF 960x540"),
    ] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="A metric on the map. Default: the loss")] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--no-log", help="Logarithmic colours. Default: where the range asks for it")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Written above the map. Default: the network")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that draw, without MPI. Default: 1")] = None,
) -> int:
    """Show how recorded runs move over their landscape, with losses, distances, eigenvalues and spectra beside it.

    Runs unchanged on many ranks, which share the frames: mpiexec -n 8 landscape video ... The file has the same bytes
    with any number of ranks or workers, and the same command again recognizes a video that is complete.
    """
    flags: dict[str, Any] = {name: value for name, value in locals().items() if name != "job"}
    lists = {name: value or None for name, value in flags.items() if isinstance(value, list)}
    from landscape.cli.job import read_job
    from landscape.cli.jobs.video import VideoCommand, VideoJob
    from landscape.cli.running import run

    return run(VideoCommand(read_job(VideoJob, job, {**flags, **lists})))
