"""The layouts of videos by name, what each is made from, and how many frames it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render.film_schedule import check_runs, schedule

Image = NDArray[np.uint8]
# Name → module of landscape.render, class, and what it shows.
LAYOUTS = {
    "trajectory": ("film", "Film", "the landscape with the runs; losses, distances, eigenvalues and density beside it"),
    "flyover": ("flyover", "Flyover", "the landscape as a relief that turns, with the growing paths"),
    "spectrum": ("film_spectrum", "SpectrumFilm", "the eigenvalue density over the training, as a curve and as a map"),
    "compare": ("film_compare", "CompareFilm", "several runs, each with panels of its own"),
    "path": ("film_path", "PathFilm", "from one minimum to the other, with loss, eigenvalues and place on the plane"),
}


class AnyFilm(Protocol):
    """What a layout must offer."""

    size: tuple[int, int]

    @property
    def still(self) -> Image:
        """What is the same in all frames, (height, width, 4) uint8."""

    def __len__(self) -> int: ...

    def frame(self, k: int) -> Image:
        """Frame number `k`, (height, width, 3) uint8."""

    def draw(self, k: int) -> Image:
        """Frame number `k`, (height, width, 4) uint8, until the next one is drawn."""


def film_class(layout: str) -> Any:
    """The class of a layout, loaded now.

    Raises
    ------
    InputError
        There is no such layout; the message lists them.
    """
    if layout not in LAYOUTS:
        known = "\n".join(f"  {name:<12}{words}" for name, (_, _, words) in LAYOUTS.items())
        raise InputError(f"there is no layout {layout!r}; choose one of:\n{known}")
    module, name, _ = LAYOUTS[layout]
    return getattr(import_module(f"landscape.render.{module}"), name)


def subject_of(subject: Any, layout: str | None, options: Mapping[str, Any]) -> tuple[Any, str, dict[str, Any]]:
    """What is filmed, the layout, and the options with all densities.

    Parameters
    ----------
    subject : Surface, sequence of Surface, DensitySeries, PathProfile or None
        Surfaces of one plane become one with all runs; a series of densities is a density option.
    layout : str or None
        Default: "spectrum" of densities alone, "compare" of several surfaces, "path" of a path, otherwise "trajectory".
    options : dict
        Of the film.

    Returns
    -------
    subject : Surface, PathProfile or None
    layout : str
    options : dict

    Raises
    ------
    InputError
        Surfaces of different models or planes, densities twice, or something else.
    """
    options = dict(options)
    if is_path(subject):
        if layout not in (None, "path"):
            film_class(layout)
            raise InputError(f"the layout {layout} does not show a path between two minima; the layout path does")
        return subject, "path", options
    if options.pop("surface", None) is not None:
        raise InputError("surface= is the plane of a path between two minima; give what is filmed alone")
    series = hasattr(subject, "pieces")
    if series:
        if options.get("densities"):
            raise InputError("the densities are given twice: as what is filmed, and with densities=")
        subject, options["densities"] = None, subject
    several = isinstance(subject, Sequence) and not isinstance(subject, str)
    layout = layout or ("spectrum" if subject is None else "compare" if several else "trajectory")
    film_class(layout)
    if layout == "path":
        raise InputError("the layout path needs a path between two minima; landscape interpolate computes one")
    if several:
        from landscape.render.merging import merged

        subject = merged(subject)
    if subject is None and layout != "spectrum":
        raise InputError(f"the layout {layout} needs a surface with recorded runs; landscape surface computes one")
    if subject is not None and not hasattr(subject, "path_names"):
        kind = type(subject).__name__
        raise InputError(
            f"a {kind} cannot be filmed; give a surface with recorded runs, a series of densities, or a path between "
            "two minima"
        )
    return subject, layout, options


def is_path(subject: Any) -> bool:
    """Whether something is a path between two minima."""
    return hasattr(subject, "end_loss")


def length_of(surface: Any, layout: str, options: Mapping[str, Any]) -> int:
    """How many frames a film will have, without making it; its subject may also be a path.

    Raises
    ------
    InputError
        As the film, where no drawing is needed to know.
    """
    own = getattr(film_class(layout), "length", None)
    if own is not None:
        return int(own(surface, densities=options.get("densities"), frames=options.get("frames")))
    if surface is None:
        raise InputError(f"the layout {layout} needs a surface")
    check_runs(surface)
    return len(schedule(surface.paths, options.get("frames")))
