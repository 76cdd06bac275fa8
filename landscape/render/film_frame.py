"""One moment of a video as a picture."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from landscape.errors import InputError
from landscape.render.film_layouts import film_class, subject_of
from landscape.render.film_schedule import pixels
from landscape.render.formats import write_whole

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathProfile, SpectralDensity, Surface


def frame(
    subject: Surface | Sequence[Surface] | DensitySeries | PathProfile,
    path: str | os.PathLike[str] | None = None,
    *,
    step: float | None = None,
    layout: str | None = None,
    surface: Surface | None = None,
    densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
    eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
    size: tuple[int, int] | str = (1920, 1080),
    metric: str | None = None,
    log: bool | str = "auto",
    title: str | None = None,
) -> NDArray[np.uint8]:
    """Draw the frame of a video that is nearest to a step.

    Parameters
    ----------
    subject, layout, surface, densities, eigenvalues, size, metric, log, title
        As for :func:`landscape.render.video`.
    path : path, optional
        Where to write the picture; it ends in .png.
    step : float, optional
        Of the runs; of a path, the share of its length. Default: the last.

    Returns
    -------
    (height, width, 3) uint8

    Raises
    ------
    InputError
        As :func:`landscape.render.video`; or another suffix, or a step that the runs do not reach.

    Examples
    --------
    >>> frame(landscape.load("surface.h5"), "relief.png", step=100, layout="flyover")  # doctest: +SKIP
    """
    if path is not None and not str(path).lower().endswith(".png"):
        raise InputError(f"cannot write the frame {path}: the name must end in .png")
    options: dict[str, Any] = {
        "surface": surface, "densities": densities, "eigenvalues": eigenvalues, "size": pixels(size), "metric": metric,
        "log": log, "title": title,
    }  # fmt: skip
    chosen, layout, options = subject_of(subject, layout, options)
    film = film_class(layout)(chosen, **options)
    steps = film.steps
    if step is not None and not steps[0] <= step <= steps[-1]:
        raise InputError(f"there is no step {step}: the film goes from step {steps[0]:g} to {steps[-1]:g}")
    found: NDArray[np.uint8] = film.frame(len(film) - 1 if step is None else int(np.abs(steps - step).argmin()))
    if path is not None:
        content = io.BytesIO()
        Pictures.fromarray(found).save(content, "png", optimize=True)
        write_whole("picture", path, content.getvalue())
    return found
