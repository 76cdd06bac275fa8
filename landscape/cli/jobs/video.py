"""The job of `landscape video`, and its work."""

from __future__ import annotations

import dataclasses
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from landscape.cli.job import Job
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.parallel import ProcessGrid
    from landscape.records import SpectralDensity, Surface
    from landscape.store import RunState

TOGETHER = 32  # frames that the first rank holds at a time


class VideoJob(Job):
    """Everything that `landscape video` can be told."""

    command: ClassVar[str] = "video"
    foreign: ClassVar[tuple[str, ...]] = ()  # the encoder says which names it writes

    output: Path = Path("video.mp4")
    surface: Path | None = None
    densities: tuple[str, ...] = ()
    fps: float = Field(default=30, ge=1, le=240)
    frames: int | None = Field(default=None, ge=1)
    size: str = "1920x1080"
    metric: str | None = None
    log: bool | None = None
    title: str | None = None
    workers: int = Field(default=1, ge=1)

    @property
    def figure_path(self) -> None:
        """A video has no figure beside it."""
        return None

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height."""
        parts = self.size.lower().replace("×", "x").split("x")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            raise InputError(f"--size {self.size}: write width and height in pixels, as 1920x1080")
        return int(parts[0]), int(parts[1])

    @cached_property
    def film(self) -> dict[str, Any]:
        """What `landscape.render.Film` is made from, read once."""
        surface = _surface(self.surface or Path())
        return {
            "surface": surface,
            "densities": [_density(text, surface) for text in self.densities],
            "frames": self.frames,
            "size": self.pixels,
            "metric": self.metric,
            "log": "auto" if self.log is None else self.log,
            "title": _network(surface) if self.title is None else self.title,
        }

    def configuration(self) -> dict[str, Any]:
        """What the bytes depend on; files count by their content."""
        from landscape.render.filming import configuration

        return configuration(fps=self.fps, **self.film)

    def checked(self, given: set[str]) -> Self:
        """Refuse a missing surface, figures, and names that the video cannot have."""
        from landscape.render.encoder import SUFFIX

        for name in ("figure", "no_figure", "checkpoint_seconds"):
            if name in given:
                raise InputError(f"{name.replace('_', '-')} does not apply to landscape video")
        if self.surface is None:
            raise InputError("no surface is given: landscape video surface.h5, a result of landscape surface")
        if self.output.suffix.lower() != SUFFIX:
            raise InputError(f"--output {self.output}: the name of a video must end in {SUFFIX}")
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
        announce(f"video: {frames} frames of {size} of {self.job.surface}", grid)

    def function(self) -> dict[str, Any]:
        """Nothing beyond what the configuration says."""
        return {}

    def compute(self, state: RunState, progress: Progress) -> Path:
        """Draw the frames on all ranks, and encode them on the first."""
        from landscape.render.filming import video

        if self.grid.size > 1:
            return self._share(progress)
        options = {name: value for name, value in self.job.film.items() if name != "surface"}
        return video(
            self.job.film["surface"],
            self.job.output,
            fps=self.job.fps,
            workers=self.job.workers,
            progress=progress,
            **options,
        )

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
        asked = self.configuration
        seconds, megabytes = asked["frames"] / asked["fps"], result.stat().st_size / 1e6
        size = asked["size"].replace("x", " × ")
        print(f"video   {asked['frames']} frames of {size}, {seconds:.3g} s, {megabytes:.3g} MB, H.264")
        print(f"result  {result}    to look at it: any player")
        sys.stdout.flush()

    def _share(self, progress: Progress) -> Path:
        """Rank r draws the frames r, r + P, …; the first rank encodes them in their order (collective)."""
        from contextlib import nullcontext

        import numpy as np
        import torch

        from landscape.render.encoder import VideoFile
        from landscape.render.film import Film
        from landscape.render.filming import comment_of

        film, ranks = Film(**self.job.film), self.grid.world
        width, height = film.size
        nothing = torch.empty((0, width * height // 2), dtype=torch.int64)
        comment = comment_of(self.configuration)
        target = VideoFile(self.job.output, film.size, self.job.fps, comment) if ranks.rank == 0 else nullcontext()
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


def _surface(path: Path) -> Surface:
    from landscape import records
    from landscape._load import load

    found = load(path)
    if not isinstance(found, records.Surface):
        raise InputError(f"{path} holds no surface; landscape surface computes one")
    return found


def _density(text: str, surface: Surface) -> tuple[int, SpectralDensity]:
    """The step and the density that `[RUN:][STEP:]FILE` names; its provenance names the run."""
    from landscape import records
    from landscape._load import load
    from landscape.render.film_schedule import sorted_densities

    runs = [str(name) for name in surface.path_names]
    run = next((name for name in runs if text.startswith(f"{name}:")), None)
    rest = text if run is None else text[len(run) + 1 :]
    head, colon, tail = rest.partition(":")
    step = int(head) if colon and head.strip().isdigit() else None
    path = Path(tail if step is not None else rest)
    if run is None and step is None and colon and not path.exists():
        raise InputError(f"--densities {text}: no run is called {head!r}; the surface has {', '.join(runs) or 'none'}")
    found = load(path)
    if not isinstance(found, records.SpectralDensity):
        raise InputError(f"--densities: {path} holds no eigenvalue density; landscape spectrum computes one")
    if surface.n and found.n != surface.n:
        raise InputError(
            f"--densities: {path} belongs to a network of {found.n} parameters, but the surface to one of {surface.n}"
        )
    if step is None:
        step = found.provenance.get("step")
    if step is None:
        raise InputError(f"--densities {path}: the file does not say at which step; write it in front, as 100:{path}")
    if run is not None:
        found = dataclasses.replace(found, provenance={**found.provenance, "run": run})
    if runs:
        try:
            sorted_densities([(int(step), found)], surface.paths)
        except InputError as error:
            raise InputError(f"--densities {path}: {error}") from error
    return int(step), found


def _network(surface: Surface) -> str | None:
    """What the surface was computed of, as far as it says so."""
    objective = str(surface.provenance.get("asked", {}).get("objective", "")).removeprefix("zoo:")
    facts = [objective, f"{surface.n} parameters" if surface.n else ""]
    return ", ".join(filter(None, facts)) if objective else None
