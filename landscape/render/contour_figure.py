"""The surface as a map with the runs on it, and below what the map cannot show: true losses and distances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from landscape.records.displaying import is_spread
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.heights import LEVELS, Heights, heights
from landscape.render.numerals import count, number, numbers, plural
from landscape.render.plane_map import (
    HATCH,
    anchor_entry,
    axis_text,
    check_surface,
    draw_anchors,
    draw_color_bar,
    draw_map,
    fit_box,
    hole_entry,
    label_lines,
    within,
)
from landscape.render.runs import HandlerRun, RunHandle, draw_run, end_marker, run_style, run_text
from landscape.render.value_axis import value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import PathOnSurface, Surface

Array = NDArray[np.float64]
# Inches.
LEFT, MAP_WIDTH, MAP_HEIGHT = 0.74, 4.55, 4.4
BAR_GAP, BAR_WIDTH = 0.12, 0.13
LINE, PANEL, HEADING, PROFILE, HANDLE = 0.145, 1.15, 0.24, 2.6, 0.52
LEGEND = theme.BODY - 1  # points
BATCH_NORM = {
    "eval": "batch norm: statistics of the origin",
    "recompute": "batch norm: statistics recomputed at each point",
    "batch": "batch norm: statistics of each batch",
}


@theme.themed
def contour(
    surface: Surface,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    log: bool | str = "auto",
    levels: int | Sequence[float] = LEVELS,
    title: str | None = None,
) -> Figure:
    """Draw a surface as a map with filled contours, its runs on it, coloured by time.

    Below the map: the loss at the checkpoints beside the loss at their projections, which is what the map shows; the
    distance of the checkpoints from the plane; and where it is known the cosine between the steps to a checkpoint and
    from it (1: straight on, -1: straight back). A grid of one row or column becomes a profile.

    Parameters
    ----------
    surface : Surface
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    metric : str, optional
        One of ``surface.metrics`` instead of the loss, or "model_error": the loss less that of the quadratic model,
        where the loss was computed, in colours that tell the sign.
    log : bool or "auto"
        Logarithmic levels; "auto" takes them for a loss that is nowhere negative and spans more than a factor of 20.
    levels : int or sequence of float
        About how many bands, or their ends; default 16.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        An unknown metric or suffix, a logarithm of negative values, impossible levels, or a damaged surface.

    Examples
    --------
    >>> figure = contour(landscape.load("surface.h5"), "surface.svg")  # doctest: +SKIP
    """
    check_surface(surface)
    shown = heights(surface, metric, log, levels)
    if path is not None:
        check_suffix(path)
    figure = _profile(surface, shown, title) if 1 in shown.values.shape else _map(surface, shown, title)
    if path is not None:
        theme.save_figure(figure, path)
    return figure


def _map(surface: Surface, shown: Heights, title: str | None) -> Figure:
    # Losses that differ in their seventh digit need wide tick labels beside the bar.
    labels = max((theme.text_width(text, theme.BODY - 1) for text in numbers(shown.marks)), default=0.0)
    room = min(MAP_WIDTH, theme.WIDTH - LEFT - BAR_GAP - BAR_WIDTH - labels - 0.45)
    width, height, to_scale = fit_box(surface, room, MAP_HEIGHT)
    left = LEFT + (room - width) / 2
    caption = _caption(surface, shown, to_scale)
    entries = _run_entries(surface) + anchor_entry(surface) + hole_entry(shown)
    figure, bottoms, columns = _page(height, entries, bool(surface.paths), len(caption), title)
    page = figure.get_size_inches()[1]

    axes = figure.add_axes((left / theme.WIDTH, bottoms["map"] / page, width / theme.WIDTH, height / page))
    axes.spines[["top", "right"]].set_visible(True)
    _name_axes(figure, (LEFT, bottoms["map"], height), axis_text(surface, 0), axis_text(surface, 1))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    lines = draw_map(axes, surface, shown)
    if lines is not None:
        label_lines(axes, lines, shown, surface, theme.SMALL - 0.5)
    for index, run in enumerate(surface.paths):
        draw_run(axes, run.coordinates, run_style(index))
    draw_anchors(axes, surface, theme.SMALL)
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    if len(shown.levels) and not shown.constant:
        box = (left + width + BAR_GAP, bottoms["map"], BAR_WIDTH, height)
        draw_color_bar(figure, _fractions(box, page), shown, theme.BODY)
    _finish(figure, surface, entries, columns, bottoms, caption, title)
    return figure


def _profile(surface: Surface, shown: Heights, title: str | None) -> Figure:
    """A grid of one row or one column: its values as a curve; a single point is a dot."""
    along = 0 if len(surface.y) == 1 else 1
    x, fixed = (surface.x, surface.y) if along == 0 else (surface.y, surface.x)
    values = shown.values.ravel()
    caption = _caption(surface, shown, to_scale=True)
    where = f"{surface.axes[1 - along]} = {number(float(fixed[0]))}"
    single = "the grid is a single point" if len(x) == 1 else "the grid is a single line"
    caption.insert(0, (f"{single}, at {where}", theme.QUIET))
    entries = _run_entries(surface) + hole_entry(shown)
    figure, bottoms, columns = _page(PROFILE, entries, bool(surface.paths), len(caption), title)
    page = figure.get_size_inches()[1]
    axes = figure.add_axes(_fractions((LEFT, bottoms["map"], theme.WIDTH - LEFT - 0.25, PROFILE), page))
    value = f"{shown.name}{' (logarithmic)' if shown.logarithmic else ''}"
    _name_axes(figure, (LEFT, bottoms["map"], PROFILE), axis_text(surface, along), value)
    axes.plot(x, values, color=theme.PALETTE[0], marker="o", markersize=3 if len(x) > 1 else 6, zorder=3)
    if len(x) > 1:
        edges = np.concatenate([[x[0]], (x[1:] + x[:-1]) / 2, [x[-1]]])
        for index in np.flatnonzero(np.isnan(values)):
            hole = axes.axvspan(edges[index], edges[index + 1], **HATCH)
            hole.set_hatch_linewidth(0.6)
        axes.set_xlim(x[0] - 0.01 * np.ptp(x), x[-1] + 0.01 * np.ptp(x))
    else:
        axes.set_xticks(x)
    value_axis(axes, shown.finite, shown.logarithmic, 7)
    _finish(figure, surface, entries, columns, bottoms, caption, title)
    return figure


def _finish(
    figure: Figure,
    surface: Surface,
    entries: list[tuple[Any, str]],
    columns: int,
    bottoms: dict[str, float],
    caption: list[tuple[str, str]],
    title: str | None,
) -> None:
    """Legend, lower panels, caption and title."""
    page = figure.get_size_inches()[1]
    _legend(figure, entries, columns, bottoms["legend"] / page)
    if surface.paths:
        _panels(figure, surface.paths, bottoms["panels"], page)
    for index, (text, color) in enumerate(reversed(caption)):
        place = (0.02, (0.07 + LINE * index) / page)
        figure.text(*place, text, fontsize=theme.SMALL, color=color, va="bottom", parse_math=False)
    if title:
        place = LEFT / theme.WIDTH, 1 - 0.09 / page
        text = theme.shortened(title, theme.BODY + 1, theme.WIDTH - LEFT - 0.1)
        figure.text(*place, text, fontsize=theme.BODY + 1, va="top", parse_math=False)


def _page(
    map_height: float, entries: list[tuple[Any, str]], panels: bool, lines: int, title: str | None
) -> tuple[Figure, dict[str, float], int]:
    """A figure as high as what is on it, where its parts begin in inches from below, and the legend's columns."""
    bottoms = {"caption": 0.07}
    height = bottoms["caption"] + LINE * lines + 0.05
    if panels:
        height += 0.42
        bottoms["panels"] = height
        height += PANEL + HEADING
    bottoms["legend"] = height
    widest = max((theme.text_width(text, LEGEND) for _, text in entries), default=0.0)
    columns = 2 if len(entries) > 1 and 2 * (widest + HANDLE) < theme.WIDTH - 0.2 else 1
    height += 0.19 * -(-len(entries) // columns) + 0.06
    bottoms["map"] = height + 0.45
    height = bottoms["map"] + map_height + (0.52 if title else 0.28)
    figure, axes = theme.new_figure(height)
    axes.remove()
    return figure, bottoms, columns


def _name_axes(figure: Figure, box: tuple[float, float, float], below: str, above: str) -> None:
    """Write what the axes show below and above them: lying, so that long names can be read and fit."""
    left, bottom, height = box
    page = figure.get_size_inches()[1]
    look: dict[str, Any] = {"fontsize": theme.BODY - 1, "parse_math": False}
    for text, place, side in ((f"→ {below}", bottom - 0.27, "top"), (f"↑ {above}", bottom + height + 0.07, "bottom")):
        text = theme.shortened(text, theme.BODY - 1, theme.WIDTH - left - 0.1)
        figure.text(left / theme.WIDTH, place / page, text, va=side, **look)


def _panels(figure: Figure, runs: tuple[PathOnSurface, ...], bottom: float, page: float) -> None:
    """True beside projected loss, the distance from the plane, and the cosine between steps, over the steps."""
    turning = any(np.isfinite(run.cosine).any() for run in runs)
    panels, gap = 2 + turning, 0.62 if turning else 0.75
    width = (theme.WIDTH - LEFT - gap * (panels - 1) - 0.2) / panels
    boxes = [(LEFT + index * (width + gap), bottom, width, PANEL) for index in range(panels)]
    axes = [figure.add_axes(_fractions(box, page)) for box in boxes]
    _draw_losses(axes[0], runs)
    _draw_distances(axes[1], runs)
    if turning:
        _draw_cosines(axes[2], runs)
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    for one in axes:
        one.set_xlabel("step", labelpad=1)
        one.set_xlim(*_with_margin(float(steps[0]), float(steps[-1])))
        one.xaxis.set_major_locator(MaxNLocator(4 if turning else 5, integer=True, steps=[1, 2, 5, 10]))
        if len(steps) <= 2 and all(len(run.steps) == 1 for run in runs):
            one.set_xticks(steps.tolist())
        one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))


def _draw_losses(axes: Axes, runs: tuple[PathOnSurface, ...]) -> None:
    every = np.concatenate([np.concatenate([run.loss, run.projected_loss]) for run in runs])
    finite = every[np.isfinite(every)]
    logarithmic = is_spread(finite, 5)
    for index, run in enumerate(runs):
        color = run_style(index).line
        axes.plot(run.steps, run.projected_loss, color=color, linewidth=0.9, linestyle=(0, (2.5, 1.5)), zorder=4)
        axes.plot(run.steps, run.loss, color=color, linewidth=1.2, zorder=3)
        _mark_end(axes, index, run, run.loss)
    value_axis(axes, finite, logarithmic, 6 if logarithmic else 4)
    if logarithmic:
        axes.set_ylabel("loss (logarithmic)", fontsize=theme.SMALL, labelpad=2)
    _heading(axes, "loss; dashed: projected")


def _draw_distances(axes: Axes, runs: tuple[PathOnSurface, ...]) -> None:
    """What the map leaves out, filled down to zero, where it would leave out nothing."""
    for index, run in enumerate(runs):
        color = run_style(index).line
        if len(runs) == 1:  # more than one would cover each other
            axes.fill_between(run.steps, 0, run.distance, color=color, alpha=0.12, linewidth=0)
        axes.plot(run.steps, run.distance, color=color, linewidth=1.2)
        _mark_end(axes, index, run, run.distance)
    far = np.concatenate([run.distance for run in runs])
    far = far[np.isfinite(far)]
    axes.set_ylim(0, 1.08 * float(far.max(initial=0)) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    _heading(axes, "distance from the plane")


def _draw_cosines(axes: Axes, runs: tuple[PathOnSurface, ...]) -> None:
    """1 is straight on, 0 a right angle, -1 straight back."""
    axes.axhline(0, color=theme.FAINT, linewidth=0.7, zorder=1)
    for index, run in enumerate(runs):
        axes.plot(run.steps, run.cosine, color=run_style(index).line, linewidth=0.9, alpha=0.9)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1], ["−1", "0", "1"])
    _heading(axes, "cosine between steps")


def _mark_end(axes: Axes, index: int, run: PathOnSurface, values: Array) -> None:
    if np.isfinite(values[-1]):
        axes.plot(run.steps[-1], values[-1], **end_marker(run_style(index), 5.0), zorder=6, clip_on=False)


def _with_margin(first: float, last: float) -> tuple[float, float]:
    margin = 0.01 * (last - first) or 0.5
    return first - margin, last + margin


def _heading(axes: Axes, words: str) -> None:
    axes.annotate(
        words, (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points", fontsize=theme.BODY - 1
    )


def _run_entries(surface: Surface) -> list[tuple[Any, str]]:
    """What the legend says of the runs."""
    room = theme.WIDTH - HANDLE - 0.3
    styles = [run_style(index) for index in range(len(surface.paths))]
    return [
        (RunHandle(style), run_text(run, style, LEGEND, room)) for style, run in zip(styles, surface.paths, strict=True)
    ]


def _legend(figure: Figure, entries: list[tuple[Any, str]], columns: int, bottom: float) -> None:
    if not entries:
        return
    texts = [theme.shortened(text, LEGEND, theme.WIDTH - HANDLE - 0.2) for _, text in entries]
    legend = figure.legend(
        [handle for handle, _ in entries], texts, loc="lower center", bbox_to_anchor=(0.5, bottom), ncols=columns,
        handler_map={RunHandle: HandlerRun()}, handlelength=2.6, columnspacing=1.4, borderaxespad=0, borderpad=0,
        fontsize=LEGEND,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _caption(surface: Surface, shown: Heights, to_scale: bool) -> list[tuple[str, str]]:
    """What a reader needs to judge the map: (line, colour) pairs."""
    facts = [f"{len(surface.x)} × {len(surface.y)} points"]
    if surface.n:
        facts.append(f"n = {count(surface.n)}")
    low, high = (float(shown.finite.min()), float(shown.finite.max())) if len(shown.finite) else (np.nan, np.nan)
    if shown.constant:
        facts.append(f"{shown.name} {number(low, 6)} everywhere")
    elif shown.name != "loss":
        facts.append(f"{shown.name} from {number(low)} to {number(high)}")
    elif len(shown.finite):
        row, column = np.unravel_index(np.nanargmin(shown.values), shown.values.shape)
        place = f"({number(float(surface.x[column]))}, {number(float(surface.y[row]))})"
        edge = row in (0, len(surface.y) - 1) or column in (0, len(surface.x) - 1)
        beyond = " (on the edge: the minimum lies outside)" if edge and min(shown.values.shape) > 2 else ""
        facts.append(f"lowest loss on the grid: {number(low)} at {place}{beyond}")
    facts += _truth(surface, shown.logarithmic)
    if "distance" in surface.unit and not to_scale:
        facts.append("axes not to the same scale")
    lines = [(line, theme.QUIET) for line in theme.joined(facts, theme.SMALL, theme.WIDTH - 0.25)]
    outside = int((~within(surface, surface.path_coordinates)).sum())
    if outside and min(shown.values.shape) > 1:
        lines.append((f"{plural(outside, 'checkpoint')} outside of the map", theme.WARNING))
    if len(shown.finite) == 0:
        lines.append((f"no point of the grid has a finite {shown.name}", theme.WARNING))
    return lines


def _truth(surface: Surface, logarithmic: bool) -> list[str]:
    """What is not as it seems: what lies off the plane, what was interpolated, which statistics batch norm had."""
    facts = []
    far = surface.path_distance[np.isfinite(surface.path_distance)]
    reach = float(np.hypot(*np.ptp(surface.path_coordinates, axis=0))) if len(far) else 0.0
    if reach > 0 and far.max() > 0:
        share = f" ({100 * far.max() / reach:.2g} % of the runs' extent in it)" if "distance" in surface.unit else ""
        facts.append(f"off the plane by at most {number(float(far.max()))}{share}")
    computed = int(np.sum(surface.evaluated))
    if surface.evaluated.size and computed < surface.evaluated.size:
        error = surface.loss_error
        if logarithmic:  # what the colours show
            with np.errstate(divide="ignore", invalid="ignore"):
                error = error / np.abs(surface.loss)
        worst = float(np.nanmax(np.where(np.isfinite(error), error, 0.0)))
        size = f"{number(100 * worst, 2)} %" if logarithmic else number(worst, 2)
        facts.append(
            f"{count(computed)} points computed, the others interpolated (error of the loss at most about {size})"
        )
    words = BATCH_NORM.get(surface.batchnorm)
    return [*facts, words] if words else facts


def _fractions(box: tuple[float, float, float, float], page: float) -> tuple[float, float, float, float]:
    """A box in inches as fractions of a page of that height."""
    left, bottom, width, height = box
    return left / theme.WIDTH, bottom / page, width / theme.WIDTH, height / page
