"""The image of the densities along a path, with lines for what the eigenpairs say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from landscape.render import theme
from landscape.render.density_figure import FLOOR, OPERATORS
from landscape.render.eigenvalue_scale import cell_edges, eigenvalue_axis
from landscape.render.path_curves import draw_curves, eigenvalue_curves
from landscape.render.path_density import EigenvalueMap, densities_of
from landscape.render.plane_map import HATCH
from landscape.render.series_figure import DENSITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathProfile


def draw_eigenvalues(axes: Axes, record: PathProfile, found: EigenvalueMap, scale: float = 1.0) -> Any:
    """Fill axes with the densities and the lines; what is not known is hatched.

    Parameters
    ----------
    axes : Axes
        With their limits along the path.
    record : PathProfile
    found : EigenvalueMap
    scale : float
        Of lines: 1 in a printed figure.

    Returns
    -------
    The image, for a bar of colours; None where there are no densities.
    """
    axes.spines[["top", "right"]].set_visible(True)
    eigenvalue_axis(axes, "y", found.limits, found.width, "symlog")
    image = _draw_densities(axes, record, found) if len(record.lengths) else None
    axes.axhline(0, color=theme.FAINT, linewidth=0.6 * scale, zorder=1.5)
    curves = eigenvalue_curves(record)
    for curve in curves:
        axes.plot(record.s, curve.values, color="white", linewidth=1.7 * scale, alpha=0.55, zorder=2.9)
    draw_curves(axes, record.s, curves, 0.8 * scale, 3)
    return image


def operators_of(records: Sequence[PathProfile]) -> set[str]:
    """What the densities are of, in words."""
    known = [density for record in records for density in densities_of(record) if density is not None]
    return {OPERATORS.get(density.operator, density.operator) for density in known}


def _draw_densities(axes: Axes, record: PathProfile, found: EigenvalueMap) -> Any:
    edges, cells = cell_edges(record.s), cell_edges(found.x, found.width, "symlog")
    if len(record.s) > 1:  # the outer halves of the outermost columns belong to no point
        edges[[0, -1]] = record.s[[0, -1]]
    width = edges[-1] - edges[0]
    ground = Rectangle((edges[0], 0), width, 1, transform=axes.get_xaxis_transform(), zorder=0, **HATCH)
    ground.set_hatch_linewidth(0.6)
    axes.add_patch(ground)
    for index, density in enumerate(densities_of(record)):
        if density is not None:
            axes.axvspan(edges[index], edges[index + 1], color="white", linewidth=0, zorder=0.5)
    return axes.pcolormesh(
        edges, cells, found.image(record), cmap=DENSITY, norm=LogNorm(FLOOR, found.top), rasterized=True, linewidth=0
    )
