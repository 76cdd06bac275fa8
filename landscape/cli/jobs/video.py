"""The job of `landscape video`, and its work."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from landscape.cli.job import Job
from landscape.cli.jobs.video_files import densities_in, eigenvalues_in, network_of, path_and_plane, subject_in
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.parallel import ProcessGrid
    from landscape.store import RunState

TOGETHER = 32  # frames that the first rank holds at a time


class VideoJob(Job):
    """Everything that `landscape video` can be told."""

    command: ClassVar[str] = "video"
    foreign: ClassVar[tuple[str, ...]] = ()  # the encoder says which names it writes

    output: Path = Path("video.mp4")
    surface: tuple[Path, ...] = ()
    layout: str | None = None
    densities: tuple[str, ...] = ()
    eigenvalues: tuple[Path, ...] = ()
    fps: float | None = Field(default=None, ge=1, le=240)
    frames: int | None = Field(default=None, ge=1)
    size: str | None = None
    metric: str | None = None
    log: bool | None = None
    title: str | None = None
    workers: int = Field(default=1, ge=1)

    @property
    def figure_path(self) -> None:
        """A video has no figure beside it."""
        return None

    @cached_property
    def found(self) -> list[Any]:
        """What the files hold, read once."""
        return [subject_in(path, alone=len(self.surface) == 1) for path in self.surface]

    @cached_property
    def way(self) -> tuple[Any, Any] | None:
        """A path between two minima and the surface of its plane or None; None if no path is filmed."""
        return path_and_plane(self.found, self.surface)

    @property
    def subject(self) -> Any:
        """What is filmed: a surface, several, a path, a series of densities, or nothing but --densities."""
        if self.way is not None:
            return self.way[0]
        return None if not self.found else self.found[0] if len(self.found) == 1 else self.found

    @cached_property
    def film(self) -> dict[str, Any]:
        """What `landscape.render.video` is told, read once; without the file, the workers and the progress."""
        from landscape.render.film_schedule import pixels
        from landscape.render.merging import merged
        from landscape.render.video_formats import format_of

        shape = format_of(self.output)
        first = merged(self.subject) if isinstance(self.subject, list) else self.subject
        surface = first if hasattr(first, "path_names") else None
        return {
            "layout": self.layout,
            "surface": None if self.way is None else self.way[1],
            "densities": densities_in(self.densities, surface),
            "eigenvalues": [eigenvalues_in(path) for path in self.eigenvalues],
            "frames": self.frames,
            "fps": shape.fps if self.fps is None else self.fps,
            "size": shape.size if self.size is None else pixels(self.size),
            "metric": self.metric,
            "log": "auto" if self.log is None else self.log,
            "title": network_of(first) if self.title is None else self.title,
        }

    def configuration(self) -> dict[str, Any]:
        """What the bytes depend on; files count by their content."""
        from landscape.render.filming import configuration

        return configuration(self.subject, **self.film)

    def checked(self, given: set[str]) -> Self:
        """Refuse a missing surface, figures, and names that the video cannot have."""
        from landscape.render.encoder import check_speed
        from landscape.render.film_layouts import film_class
        from landscape.render.video_formats import format_of

        for name in ("figure", "no_figure", "checkpoint_seconds"):
            if name in given:
                raise InputError(f"{name.replace('_', '-')} does not apply to landscape video")
        if self.layout is not None:
            film_class(self.layout)
        if not self.surface and not self.densities:
            raise InputError("no surface is given: landscape video surface.h5, a result of landscape surface")
        shape = format_of(self.output)
        check_speed(shape, shape.fps if self.fps is None else self.fps)
        return super().checked(given)


class VideoCommand(Command[VideoJob]):
    """Draw and encode a video."""

    unit: ClassVar[str] = "frames"

    grid: ProcessGrid

    def build(self, grid: ProcessGrid) -> None:
        """Refuse two ways of sharing the work at once."""
        self.grid = grid
        if grid.size > 1 and self.job.workers > 1:
            raise InputError(
                f"the {grid.size} ranks share the frames already: leave --workers out, or start without mpiexec"
            )
        frames, size = self.configuration["frames"], self.configuration["size"]
        what = " and ".join(str(path) for path in self.job.surface) or "densities"
        announce(f"video: {frames} frames of {size} of {what}", grid)

    def function(self) -> dict[str, Any]:
        """Nothing beyond what the configuration says."""
        return {}

    def compute(self, state: RunState, progress: Progress) -> Path:
        """Draw the frames on all ranks, and encode them on the first."""
        from landscape.render.filming import video

        if self.grid.size > 1:
            return self._share(progress)
        return video(self.job.subject, self.job.output, workers=self.job.workers, progress=progress, **self.job.film)

    def check_outputs(self) -> None:
        """Make sure that there is an encoder and that the file can be written."""
        from landscape.render.encoder import encoder
        from landscape.store import check_writable

        encoder()
        check_writable(self.job.output)

    def load(self) -> tuple[Any, dict[str, Any] | None]:
        """The video at the output, and its configuration."""
        from landscape.render.filming import read_configuration

        found = read_configuration(self.job.output)
        if found is None:
            raise InputError(f"{self.job.output} is no video of landscape")
        return self.job.output, found

    def save(self, result: Path) -> None:
        """It is on the disk already."""

    def say(self, result: Path) -> None:
        """Print what came out and where it is."""
        from landscape.render.video_formats import format_of

        asked = self.configuration
        seconds, megabytes = asked["frames"] / asked["fps"], result.stat().st_size / 1e6
        size = asked["size"].replace("x", " × ")
        codec = format_of(result).name
        print(f"video   {asked['frames']} frames of {size}, {seconds:.3g} s, {megabytes:.3g} MB, {codec}")
        print(f"result  {result}    to look at it: any player")
        sys.stdout.flush()

    def _share(self, progress: Progress) -> Path:
        """Rank r draws the frames r, r + P, …; the first rank encodes them in their order (collective)."""
        from contextlib import nullcontext

        import numpy as np
        import torch

        from landscape.render.encoder import VideoFile
        from landscape.render.film_layouts import film_class, subject_of
        from landscape.render.filming import colors_of, comment_of

        options = {name: value for name, value in self.job.film.items() if name not in ("layout", "fps")}
        surface, layout, options = subject_of(self.job.subject, self.job.layout, options)
        film, ranks = film_class(layout)(surface, **options), self.grid.world
        width, height = film.size
        nothing = torch.empty((0, width * height // 2), dtype=torch.int64)
        comment = comment_of(self.configuration)
        target = (
            VideoFile(self.job.output, film.size, self.job.film["fps"], comment, lambda: colors_of(film))
            if ranks.rank == 0
            else nullcontext()
        )
        with target as file:
            for first in range(0, len(film), ranks.size):
                mine = first + ranks.rank
                row = nothing
                if mine < len(film):  # four bytes per pixel, and an even number of pixels: whole numbers of 64 bits
                    row = torch.from_numpy(film.draw(mine).reshape(1, -1).view(np.int64).copy())
                for low in range(0, min(ranks.size, len(film) - first), TOGETHER):
                    chosen = range(low, min(low + TOGETHER, ranks.size, len(film) - first))
                    counts = [int(rank in chosen) for rank in range(ranks.size)]
                    found = ranks.gather_rows(row if ranks.rank in chosen else nothing, counts)
                    if file is not None and found is not None:
                        for frame in found.numpy().view(np.uint8).reshape(-1, height, width, 4):
                            file.write(frame)
                progress(min(first + ranks.size, len(film)), len(film), "")
        return self.job.output
