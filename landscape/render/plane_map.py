"""The map of a surface: filled contours, hatched holes, level lines, anchors and a colour bar, in given axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.numerals import count, number, numbers, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure

    from landscape.records import Surface
    from landscape.render.heights import Heights

Array = NDArray[np.float64]
CONTRAST = 4.6  # of text; 4.5 is asked for
STRETCH = 3.2  # a plane that is longer than so many times its height is not drawn to scale
HATCH: dict[str, Any] = {"facecolor": "white", "edgecolor": "#8A8A8A", "hatch": "////", "linewidth": 0.0}


def check_surface(surface: Surface) -> None:
    """Refuse grids and runs that do not fit together.

    Raises
    ------
    InputError
        Axes that do not ascend or are not finite, or runs whose arrays have different lengths.
    """
    for name in ("x", "y"):
        axis = np.asarray(getattr(surface, name), float)
        if axis.ndim != 1 or len(axis) == 0 or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
            raise InputError(f"the {name} coordinates of the surface must be finite and ascending, at least one")
    total = len(surface.path_run)
    for name in ("step", "coordinates", "loss", "projected_loss", "distance"):
        if len(getattr(surface, f"path_{name}")) != total:
            raise InputError(
                f"path_{name} has {len(getattr(surface, f'path_{name}'))} entries, but there are {total} checkpoints; "
                "compute the surface again"
            )
    if not np.isfinite(surface.path_coordinates).all():
        raise InputError("some checkpoints have coordinates that are not finite; leave the runs that diverged out")
    for index, name in enumerate(surface.path_names):
        if not (surface.path_run == index).any():
            raise InputError(f"the run {name} has no checkpoints on this surface; leave it out")


def axis_text(surface: Surface, index: int) -> str:
    """What an axis shows: name and unit, then the variance beside its null, or the curvature."""
    words = [str(surface.axes[index]), surface.unit]
    share, null = float(surface.explained_variance[index]), float(surface.explained_variance_null[index])
    curvature = float(surface.curvature[index])
    if np.isfinite(share):
        beside = f" (random walk: {100 * null:.2g} %)" if np.isfinite(null) else ""
        chosen = str(getattr(surface, "parameters", ""))
        words.append(f"{100 * share:.2g} % of the variance{f' of {chosen}' if chosen else ''}{beside}")
    elif np.isfinite(curvature):
        words.append(f"curvature {number(curvature)}")
    return " · ".join(words)


def fit_box(surface: Surface, width: float, height: float) -> tuple[float, float, bool]:
    """Size of the map within a box, and whether both axes have the same scale.

    Distances in parameter space mean the same along both axes, so they are drawn so, unless the map would be a strip.

    Parameters
    ----------
    width, height : float
        Of the box, in any unit.

    Returns
    -------
    width, height : float
    to_scale : bool
    """
    ratio = float(np.ptp(surface.y) / np.ptp(surface.x))
    if "distance" not in surface.unit or not 1 / STRETCH <= ratio <= STRETCH:
        return width, min(height, 0.62 * width), False
    shrink = min(1.0, height / (width * ratio))
    return width * shrink, width * shrink * ratio, True


def draw_map(axes: Axes, surface: Surface, shown: Heights, scale: float = 1.0) -> QuadContourSet | None:
    """Fill axes with the heights; holes are hatched, never filled in.

    Parameters
    ----------
    axes : Axes
    surface : Surface
        At least two points along each axis.
    shown : Heights
    scale : float
        Of line widths.

    Returns
    -------
    The level lines; None where there are none.
    """
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    if np.isnan(shown.values).any():
        hatched = Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=0, **HATCH)
        hatched.set_hatch_linewidth(0.6 * scale)
        axes.add_patch(hatched)
    if len(shown.levels) == 0:
        return None
    values = np.ma.masked_invalid(shown.values)
    ends = shown.extend
    if shown.logarithmic and shown.below:  # zeros
        values = np.ma.maximum(values, shown.levels[0] / 2)
    filled = axes.contourf(
        surface.x, surface.y, values, shown.levels, colors=list(shown.colors()), extend=ends, zorder=1
    )
    filled.set_edgecolor("face")  # or viewers of vector graphics show white seams between the bands
    filled.set_linewidth(0.2 * scale)
    if shown.constant:
        return None
    lines = axes.contour(surface.x, surface.y, values, shown.levels, linewidths=0.35 * scale, zorder=2)
    lines.set_edgecolor([(*_line_color(shown, level), 0.55) for level in shown.levels])
    return lines


def label_lines(axes: Axes, lines: QuadContourSet, shown: Heights, surface: Surface, fontsize: float) -> None:
    """Write the value on a few level lines, away from paths, anchors, borders and each other.

    Parameters
    ----------
    axes : Axes
        Whose position is final.
    lines : QuadContourSet
    shown : Heights
    surface : Surface
        Whose runs and anchors should stay free.
    fontsize : float
        Points.
    """
    texts = dict(zip(shown.marks, numbers(shown.marks), strict=True))
    pixel = axes.get_figure().dpi / 72 * fontsize  # type: ignore[union-attr]
    taken = axes.transData.transform(np.concatenate([surface.path_coordinates, surface.anchor_coordinates]))
    low, high = axes.transAxes.transform([[0, 0], [1, 1]])
    for index, level in enumerate(lines.levels):
        if level not in texts:
            continue
        best, place = 1.6 * pixel, None
        for segment in lines.allsegs[index]:
            if len(segment) < 2:
                continue
            points = axes.transData.transform(segment)
            if np.linalg.norm(np.diff(points, axis=0), axis=1).sum() < 9 * pixel:
                continue
            inside = np.minimum(points - low, high - points).min(axis=1)
            clear = np.full(len(points), np.inf)
            if len(taken):
                clear = np.linalg.norm(points[:, None] - taken, axis=2).min(axis=1)
            room = np.minimum(1.2 * inside, clear)
            if room.max() > best:
                best, place = float(room.max()), int(room.argmax())
                spot, at = points[place], segment[place]
        if place is None:
            continue
        taken = np.concatenate([taken, [spot]])
        color = _line_color(shown, float(level))
        texts_so_far = axes.clabel(
            lines, [level], fontsize=fontsize, fmt={level: texts[level]}, colors=[color], manual=[tuple(at)],
            inline_spacing=2, zorder=3,
        )  # fmt: skip
        if _least_contrast(shown, index, color) < CONTRAST:
            band = shown.colormap(float(shown.shade(level)))
            texts_so_far[-1].set_bbox({"facecolor": band, "linewidth": 0, "pad": 0.5})
        texts_so_far[-1].set_clip_on(True)


def draw_anchors(axes: Axes, surface: Surface, fontsize: float) -> None:
    """Mark the points that the plane was made of, with their names; a lone origin only where there are no runs."""
    if not anchor_entry(surface):
        return
    inside = within(surface, surface.anchor_coordinates)
    axes.plot(*surface.anchor_coordinates[inside].T, **_anchor_look(fontsize), zorder=4.5)
    if len(surface.anchor_names) == 1:
        return
    middle = (surface.x[0] + surface.x[-1]) / 2
    for name, (x, y) in zip(surface.anchor_names[inside], surface.anchor_coordinates[inside], strict=True):
        left = x <= middle
        axes.annotate(
            theme.shortened(str(name), fontsize, 1.5), (x, y), xytext=(0.7 * fontsize * (1 if left else -1), 0),
            textcoords="offset points", ha="left" if left else "right", va="center", fontsize=fontsize, zorder=9,
            parse_math=False, bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "alpha": 0.85, "linewidth": 0},
        )  # fmt: skip


def anchor_entry(surface: Surface) -> list[tuple[Any, str]]:
    """What the legend says of the anchors; nothing of a lone origin beside runs, as that is the end of one of them."""
    names = [str(name) for name in surface.anchor_names]
    if len(names) <= bool(surface.paths):
        return []
    handle = Line2D([], [], **_anchor_look(theme.SMALL))
    return [(handle, "origin of the plane" if len(names) == 1 else f"in the plane: {', '.join(names)}")]


def _anchor_look(fontsize: float) -> dict[str, Any]:
    return {
        "linestyle": "none", "marker": "P", "markersize": 0.75 * fontsize, "markerfacecolor": "white",
        "markeredgecolor": theme.INK, "markeredgewidth": 0.7,
    }  # fmt: skip


def within(surface: Surface, coordinates: Array) -> NDArray[np.bool_]:
    """Which of some points of the plane lie on the grid."""
    low, high = (surface.x[0], surface.y[0]), (surface.x[-1], surface.y[-1])
    inside: NDArray[np.bool_] = np.all((coordinates >= low) & (coordinates <= high), axis=1)
    return inside


def hole_entry(shown: Heights) -> list[tuple[Any, str]]:
    """What the legend says of holes; nothing if there are none."""
    holes = int(np.isnan(shown.values).sum())
    if holes == 0:
        return []
    patch = Rectangle((0, 0), 1, 1, **{**HATCH, "linewidth": 0.5, "hatch": "//////"})
    patch.set_hatch_linewidth(0.6)
    what = "loss not computed or not finite" if shown.signed else f"no finite {shown.name}"
    return [(patch, f"{what}: {plural(holes, 'point')} of {count(shown.values.size)}")]


def draw_color_bar(figure: Figure, box: tuple[float, float, float, float], shown: Heights, fontsize: float) -> Axes:
    """Draw the bands with their true values beside.

    Parameters
    ----------
    figure : Figure
    box : (left, bottom, width, height)
        In fractions of the figure.
    shown : Heights
        With at least two levels.
    fontsize : float
        Points.
    """
    axes = figure.add_axes(box)
    colors = shown.colors()
    position = shown.position(shown.levels)
    bands = colors[int(shown.below) : len(colors) - int(shown.above)]
    for color, low, high in zip(bands, position[:-1], position[1:], strict=True):
        axes.add_patch(Rectangle((0, low), 1, high - low, facecolor=color, edgecolor=color, linewidth=0.2))
    for level, place in zip(shown.levels[1:-1], position[1:-1], strict=True):
        axes.axhline(place, color=(*_line_color(shown, float(level)), 0.55), linewidth=0.35)
    tip = 0.035
    if shown.below:
        axes.add_patch(Polygon([(0, 0), (1, 0), (0.5, -tip)], facecolor=colors[0], clip_on=False, linewidth=0))
    if shown.above:
        axes.add_patch(Polygon([(0, 1), (1, 1), (0.5, 1 + tip)], facecolor=colors[-1], clip_on=False, linewidth=0))
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks(shown.position(shown.marks), numbers(shown.marks), fontsize=fontsize - 1)
    axes.spines[:].set_visible(False)
    room = max(0.95 * box[3] * float(figure.get_size_inches()[1]), 1.0)
    axes.set_ylabel(
        theme.shortened(f"{shown.name}{' (logarithmic)' if shown.logarithmic else ''}", fontsize, room),
        fontsize=fontsize,
        labelpad=3,
        parse_math=False,
    )
    return axes


def _least_contrast(shown: Heights, index: int, color: tuple[float, float, float]) -> float:
    """Contrast of a colour with the bands on both sides of a level, as WCAG 2 defines it: they may differ much."""
    places = shown.shade(shown.levels)
    near = places[max(index - 1, 0) : index + 2]
    sides = (near[1:] + near[:-1]) / 2
    own = _luminance(color)
    ratios = [(own + 0.05) / (_luminance(shown.colormap(float(side))[:3]) + 0.05) for side in sides]
    return min((max(ratio, 1 / ratio) for ratio in ratios), default=1.0)


def _luminance(color: Sequence[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # of sRGB


def _line_color(shown: Heights, level: float) -> tuple[float, float, float]:
    """Ink on light bands, white on dark ones: whichever has more contrast."""
    band = shown.colormap(float(shown.shade(level)))
    return (1.0, 1.0, 1.0) if _luminance(band[:3]) < 0.179 else (0.0, 0.0, 0.0)
