"""The surface as a relief, with the runs lying on it; what is behind a hill is drawn as hidden."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.heights import heights
from landscape.render.plane_map import check_surface
from landscape.render.relief_page import ReliefPage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.records import Surface


@theme.themed
def relief(
    surface: Surface,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    log: bool | str = "auto",
    azimuth: float | None = None,
    elevation: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a surface in three dimensions with its runs lying on it.

    A run is drawn at the height of the surface, which is the loss of its projections; see :func:`contour` for the
    true loss. Stretches behind a hill are thin and dashed. In .svg and .pdf files the ground is a picture; lines and
    letters are drawn.

    Parameters
    ----------
    surface : Surface
        At least two points along each axis.
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    metric : str, optional
        One of ``surface.metrics`` instead of the loss.
    log : bool or "auto"
        Logarithmic heights; as in :func:`contour`.
    azimuth, elevation : float, optional
        Of the viewer, degrees around the vertical axis and above the plane (5 to 90). Default: from where most of the
        runs (without runs, of the lowest points) can be seen.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        As :func:`contour`; and if the grid is a line or a point, or holds no finite value.

    Examples
    --------
    >>> figure = relief(landscape.load("surface.h5"), "relief.png")  # doctest: +SKIP
    """
    check_surface(surface)
    shown = heights(surface, metric, log)
    if path is not None:
        check_suffix(path)
    page = ReliefPage(surface, shown, azimuth, elevation, title)
    page.lay(page.horizon.picture, page.horizon.middle)
    figure = page.finish()
    if path is not None:
        theme.save_figure(figure, path)
    return figure
