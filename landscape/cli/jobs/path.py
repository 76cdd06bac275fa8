"""What commands are told of paths between minima: the files of the minima, the objective, alignment, batch norm."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from landscape.cli.job import SourceJob
from landscape.cli.jobs.minimum import Minimum, names_of
from landscape.cli.objective_source import load_objective
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.objective import Objective

# What a path between two minima is made with: word of --path → class in landscape, its arguments for fitting.
FITTED: dict[str, tuple[str, dict[str, Any]]] = {
    "bezier": ("BezierPath", {"degree": 2}),
    "cubic": ("BezierPath", {"degree": 3}),
    "polygon": ("PolygonalPath", {}),
}
# Which paths an option belongs to.
BELONGS = {"epochs": tuple(FITTED), "images": ("band",), "restarts": (), "matching": ()}


class PathJob(SourceJob):
    """What every command that looks at ways between minima can be told."""

    minima: tuple[str, ...]
    path: Literal["linear", "spherical", "bezier", "cubic", "polygon", "band"] = "linear"
    epochs: int | None = Field(default=None, ge=1)
    images: int | None = Field(default=None, ge=1)
    align: bool = False
    matching: Literal["weights", "activations"] = "weights"
    restarts: int = Field(default=1, ge=1)
    batchnorm: Literal["eval", "recompute"] = "eval"
    subsamples: int = Field(default=50, ge=2)
    seed: int = Field(default=0, ge=0)

    @cached_property
    def places(self) -> tuple[Minimum, ...]:
        """The minima."""
        return tuple(Minimum.read(text) for text in self.minima)

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return names_of(self.places)

    @property
    def recorded_runs(self) -> tuple[Path, ...]:
        """Files of recorded runs, which may remember the objective."""
        return tuple(point.path for point in self.places if point.recorded)

    @property
    def alignment(self) -> str | None:
        """How minima are aligned; None if they are not."""
        return self.matching if self.align else None

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        usual = PathJob.model_fields
        asked = ("path", "epochs", "images", "batchnorm", "subsamples", "seed")
        own = {name: getattr(self, name) for name in asked if getattr(self, name) != usual[name].default}
        own |= {"align": self.matching, "restarts": self.restarts} if self.align else {}
        return {**super().configuration(), "minima": [point.digest() for point in self.places], **own}

    def checked(self, given: set[str]) -> Self:
        """Refuse a minimum that is given twice, and options that belong to other paths."""
        twice = [text for text, place in zip(self.minima, self.places, strict=True) if self.places.count(place) > 1]
        if twice:
            raise InputError(f"{twice[0]} is given twice, but nothing lies between a minimum and itself")
        for field, kinds in BELONGS.items():
            if field in given and kinds and self.path not in kinds:
                raise InputError(f"--{field} belongs to --path {' or '.join(kinds)}, but the path is {self.path}")
            if field in given and not kinds and not self.align:
                raise InputError(f"--{field} belongs to --align, which is not given")
        return super().checked(given)

    def load(self) -> Objective:
        """Build the objective (collective); the points come from files, so the zoo need not train."""
        return load_objective(self.objective, self.objective_arguments, trained=False)
