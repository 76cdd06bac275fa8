"""Barriers between all pairs of minima as a map with numbers, ordered by the groups that low ways join."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize, to_hex
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.displaying import is_logarithmic
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.numerals import POWERS, count, number, plural
from landscape.render.path_curves import KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import Connectivity

Array = NDArray[np.float64]
Order = NDArray[np.int64]
LOW = 0.1  # of the mean |loss| of the minima: a barrier that is no higher joins, unless asked otherwise
NAMES, LOSSES, SIDE, GAP, EDGE = 1.12, 0.5, 2.8, 0.36, 0.12  # inches
LARGEST, SMALL_SIDE, LOW_SIDE = 0.85, 1.28, 2.0  # of a cell; of a small matrix; below which they stand side by side
BAR, ABOVE, TICKS, LINE = 0.11, 0.3, 0.3, 0.145
LEAST, PLAIN = 5.0, 6.5  # points of a number in a cell, and where three digits are written
FILLED = 0.8  # of the width of a cell
NORMAL = NormalDist().inv_cdf(0.975)  # standard errors of an interval of 95 %
NOTHING = "#EFEFEF"  # the diagonal
ALIGNED = {"weights": "aligned by their weights", "activations": "aligned by their activations"}


@theme.themed
def connectivity(
    record: Connectivity,
    path: str | os.PathLike[str] | None = None,
    *,
    threshold: float | None = None,
    log: bool | str = "auto",
    title: str | None = None,
) -> Figure:
    """Draw the barriers between all pairs of minima, with numbers where they fit, and beside them the distances.

    Minima are ordered so that those which low ways join stand together; a frame is around each such group.

    Parameters
    ----------
    record : Connectivity
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    threshold : float, optional
        The highest barrier that still joins, in units of the loss. Default: a tenth of the mean |loss| of the minima.
    log : bool or "auto"
        Logarithmic colours of the barriers; "auto" takes them where most are positive and span more than a factor
        of 20.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Fewer than two minima, arrays that do not fit together, an impossible threshold, or an unknown suffix.

    Examples
    --------
    >>> figure = connectivity(landscape.load("connectivity.h5"), "connectivity.svg")  # doctest: +SKIP
    """
    check_connectivity(record)
    if log not in (True, False, "auto"):
        raise InputError(f"log is {log!r}; choose True, False or 'auto'")
    if path is not None:
        check_suffix(path)
    limit = default_threshold(record) if threshold is None else threshold
    groups = record.clusters(limit)
    order = ordered(record, groups)
    beside = [(words, one) for words, one in _distances(record) if one.size]
    values = off_diagonal(record.barriers[np.ix_(order, order)])
    errors = (
        record.barrier_stderr[np.ix_(order, order)] if record.barrier_stderr.size else np.full(values.shape, np.nan)
    )
    logarithmic = is_logarithmic(values) if log == "auto" else bool(log)
    cell = min(LARGEST, SIDE / len(order))
    texts = _texts(values, NORMAL * errors, cell)
    page = _page(len(order), beside, _facts(record, limit, threshold is None, groups, texts), title)
    _draw_names(page, record, order)
    _draw_matrix(page, page.main, values, texts, logarithmic, "barrier")
    _draw_frames(page.main, groups[order])
    for axes, (words, one) in zip(page.others, beside, strict=True):
        values = off_diagonal(one[np.ix_(order, order)])
        side = float(axes.get_position().width) * theme.WIDTH
        _draw_matrix(page, axes, values, _texts(values, np.full(values.shape, np.nan), side / len(order)), False, words)
        _draw_frames(axes, groups[order])
    if path is not None:
        theme.save_figure(page.figure, path)
    return page.figure


def check_connectivity(record: Connectivity) -> None:
    """Refuse what is no matrix of barriers.

    Raises
    ------
    InputError
    """
    total = len(record.point_names)
    if total < 2:
        raise InputError(f"there is nothing to draw: a barrier is between two minima, and the record has {total}")
    for name in ("barriers", "barrier_stderr", "distances", "function_distances"):
        shape = getattr(record, name).shape
        if shape != (total, total) and (name == "barriers" or getattr(record, name).size):
            raise InputError(f"{name} has the shape {shape}, but there are {total} minima; compute it again")
    if len(record.point_loss) != total:
        raise InputError(f"there are {len(record.point_loss)} losses of {total} minima; compute it again")


def default_threshold(record: Connectivity) -> float:
    """The highest barrier that still joins: a tenth of the mean |loss| of the minima."""
    known = np.abs(record.point_loss[np.isfinite(record.point_loss)])
    return LOW * float(known.mean()) if len(known) else 0.0


def ordered(record: Connectivity, groups: Order) -> Order:
    """Minima group by group, larger groups first; inside of a group each is followed by the one with the lowest way.

    Parameters
    ----------
    record : Connectivity
    groups : (N,) int64

    Returns
    -------
    (N,) int64
    """
    sizes = np.bincount(groups)
    found: list[int] = []
    for group in sorted(range(len(sizes)), key=lambda one: (-sizes[one], one)):
        left = np.flatnonzero(groups == group).tolist()
        found.append(left.pop(0))
        while left:
            ways = np.nan_to_num(record.barriers[found[-1], left], nan=np.inf)
            found.append(left.pop(int(ways.argmin())))
    return np.array(found, np.int64)


def off_diagonal(matrix: Array) -> Array:
    """A matrix with nothing on its diagonal, and nothing where it is not finite."""
    shown = np.where(np.isfinite(matrix), matrix, np.nan)
    np.fill_diagonal(shown, np.nan)
    return shown


@dataclass(frozen=True)
class _Page:
    """A figure with a large matrix, and smaller ones right of it."""

    figure: Figure
    main: Axes
    others: list[Axes]
    names: Axes
    cell: float


def _distances(record: Connectivity) -> list[tuple[str, Array]]:
    """The distances that are known."""
    every = (("distance of parameters", record.distances), ("distance of outputs", record.function_distances))
    return [(words, one) for words, one in every if np.isfinite(off_diagonal(one.copy())).any()]


def _page(total: int, beside: list[tuple[str, Array]], facts: list[str], title: str | None) -> _Page:
    cell = min(LARGEST, SIDE / total)
    side = cell * total
    left = EDGE + NAMES + LOSSES + side + GAP
    stacked = side > LOW_SIDE
    small = SMALL_SIDE if stacked else min(side, (theme.WIDTH - left - GAP - 0.1) / 2)
    down = small + ABOVE + BAR + TICKS
    lines = theme.joined(facts, theme.SMALL, theme.WIDTH - 0.25)
    below = 0.34 + BAR + LINE * len(lines) + 0.1
    tall = max(side, (len(beside) - 1) * down + small if stacked and beside else 0.0)
    height = below + tall + ABOVE + 0.16 + (0.26 if title else 0)
    figure, names = theme.new_figure(height)

    def box(left: float, bottom: float, width: float, tall: float) -> tuple[float, float, float, float]:
        return left / theme.WIDTH, bottom / height, width / theme.WIDTH, tall / height

    names.set_position(box(EDGE, below + tall - side, NAMES + LOSSES, side))
    main = figure.add_axes(box(EDGE + NAMES + LOSSES, below + tall - side, side, side))
    others = []
    for index in range(len(beside)):
        right, lower = (0.0, index * down) if stacked else (index * (small + GAP), 0.0)
        others.append(figure.add_axes(box(left + right, below + tall - small - lower, small, small)))
    for index, words in enumerate(reversed(lines)):
        place = 0.02, (0.06 + LINE * index) / height
        figure.text(*place, words, fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
    if title:
        words = theme.shortened(title, theme.BODY + 1, theme.WIDTH - 2 * EDGE)
        place = EDGE / theme.WIDTH, 1 - 0.08 / height
        figure.text(*place, words, fontsize=theme.BODY + 1, va="top", parse_math=False)
    return _Page(figure, main, others, names, cell)


def _draw_names(page: _Page, record: Connectivity, order: Order) -> None:
    """Number, name and loss of each minimum, beside its row."""
    axes, total = page.names, len(order)
    axes.set(xlim=(0, NAMES + LOSSES), ylim=(total, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.patch.set_alpha(0)
    size = min(theme.BODY - 1, 72 * page.cell / 1.25)
    look: dict[str, Any] = {"fontsize": size, "va": "center", "parse_math": False}
    for row, index in enumerate(order):
        own = count(row + 1)
        loss = number(float(record.point_loss[index]), 3) if np.isfinite(record.point_loss[index]) else "–"
        room = NAMES + LOSSES - 0.16 - theme.text_width(own, size) - 0.1 - theme.text_width(loss, size) - 0.12
        words = theme.shortened(str(record.point_names[index]), size, room)
        axes.text(0, row + 0.5, words, **look)
        axes.text(
            NAMES + LOSSES - 0.16 - theme.text_width("88", size), row + 0.5, loss, ha="right", color=theme.QUIET, **look
        )
        axes.text(NAMES + LOSSES - 0.07, row + 0.5, own, ha="right", **look)
    heading: dict[str, Any] = {"fontsize": theme.SMALL, "color": theme.QUIET, "va": "bottom"}
    up = -0.07 / page.cell
    axes.text(0, up, "minimum", **heading)
    axes.text(NAMES + LOSSES - 0.16 - theme.text_width("88", size), up, "loss", ha="right", **heading)


def _draw_matrix(page: _Page, axes: Axes, values: Array, texts: _Texts, logarithmic: bool, words: str) -> None:
    """Draw a matrix with its numbers and the bar of its colours."""
    total = len(values)
    finite = values[np.isfinite(values)]
    norm = _norm(finite, logarithmic)
    axes.set(xlim=(0, total), ylim=(total, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    shown = np.ma.masked_invalid(np.maximum(values, norm.vmin or 0) if logarithmic else values)
    axes.add_patch(Rectangle((0, 0), total, total, facecolor=NOTHING, linewidth=0))
    edges = np.arange(total + 1)
    image = axes.pcolormesh(edges, edges, shown, cmap=theme.LANDSCAPE, norm=norm, linewidth=0)
    _write_numbers(axes, values, texts, norm)
    side = float(axes.get_position().width) * theme.WIDTH
    size = float(np.clip(72 * side / total / 1.25, LEAST, theme.SMALL))
    step = int(np.ceil((theme.text_width(count(total), size) + 0.03) * total / side))
    for index in range(0, total, step):
        axes.text(index + 0.5, -0.05 * total / side, count(index + 1), fontsize=size, ha="center", va="bottom")
    size = theme.SMALL + (axes is page.main)
    axes.annotate(
        words + texts.unit, (0, 1), xycoords="axes fraction", xytext=(0, 14), textcoords="offset points",
        fontsize=size, annotation_clip=False,
    )  # fmt: skip
    if len(finite):
        _draw_bar(page, axes, image, logarithmic)


def _norm(finite: Array, logarithmic: bool) -> Normalize:
    positive = finite[finite > 0]
    if logarithmic and len(positive):
        low, high = float(positive.min()), float(positive.max())
        return LogNorm(low, high if high > low else 2 * low)
    low, high = min(0.0, float(finite.min(initial=0.0))), float(finite.max(initial=0.0))
    return Normalize(low, high if high > low else low + 1)


@dataclass(frozen=True)
class _Texts:
    """What is written into the cells, row and column → value and, where it is known, error; their sizes in points."""

    values: dict[tuple[int, int], str]
    errors: dict[tuple[int, int], str]
    sizes: tuple[float, float]
    unit: str = ""


def _texts(values: Array, errors: Array, cell: float) -> _Texts:
    """Numbers that fit into cells of so many inches: with three digits, or else with one unit for all; or none."""
    places = [(int(row), int(column)) for row, column in np.argwhere(np.isfinite(values))]
    exact = {place: number(float(values[place]), 3, zeros=True) for place in places}
    size = _size(exact, cell)
    if size >= PLAIN:
        beside = {place: f"± {number(float(errors[place]), 1)}" for place in places if np.isfinite(errors[place])}
        small = min(theme.SMALL, _size(beside, cell))
        fits = small >= LEAST and 1.35 * (size + small) < 72 * cell
        return _Texts(exact, beside if fits else {}, (size, small))
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    power = 0 if largest == 0 or 0.1 <= largest < 1000 else int(np.floor(np.log10(largest)))
    largest /= 10.0**power
    digits = 0 if largest >= 100 else 1 if largest >= 10 else 2
    coarse = {place: f"{values[place] / 10.0**power:.{digits}f}".replace("-", "−") for place in places}
    size = _size(coarse, cell)
    unit = f" in 10{str(power).translate(POWERS)}" if power else ""
    return _Texts(coarse, {}, (size, 0.0), unit) if size >= LEAST else _Texts({}, {}, (0.0, 0.0))


def _size(texts: Mapping[tuple[int, int], str], cell: float) -> float:
    """Points at which the longest text fits into a cell."""
    widest = max((theme.text_width(text, 10.0) / 10 for text in texts.values()), default=0.0)
    return min(theme.BODY, FILLED * cell / widest if widest else theme.BODY, 72 * cell / 1.6)


def _write_numbers(axes: Axes, values: Array, texts: _Texts, norm: Normalize) -> None:
    for (row, column), text in texts.values.items():
        value = float(values[row, column])
        look: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "color": _ink(float(norm(max(value, norm.vmin or value)))),
        }
        second = texts.errors.get((row, column), "")
        axes.text(column + 0.5, row + (0.36 if second else 0.5), text, fontsize=texts.sizes[0], **look)
        if second:
            axes.text(column + 0.5, row + 0.7, second, fontsize=texts.sizes[1], **look)


def _ink(shade: float) -> str:
    """White or black, whichever stands out more from a colour of the map."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in theme.LANDSCAPE(shade)[:3]
    )
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179 else to_hex("black")


def _draw_frames(axes: Axes, groups: Order) -> None:
    """A frame around the minima of each group of two or more."""
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        if len(mine) > 1:
            low, size = float(mine[0]), float(len(mine))
            look: dict[str, Any] = {"fill": False, "clip_on": False, "zorder": 5}
            axes.add_patch(Rectangle((low, low), size, size, edgecolor="white", linewidth=3.0, **look))
            axes.add_patch(Rectangle((low, low), size, size, edgecolor=theme.PALETTE[1], linewidth=1.6, **look))


def _draw_bar(page: _Page, axes: Axes, image: Any, logarithmic: bool) -> None:
    """The colours and their values, below a matrix."""
    box, height = axes.get_position(), float(page.figure.get_size_inches()[1])
    place = (box.x0, box.y0 - (0.07 + BAR) / height, box.width, BAR / height)
    bar = page.figure.add_axes(place)
    page.figure.colorbar(image, cax=bar, orientation="horizontal")
    most = int(np.clip(box.width * theme.WIDTH / 0.5, 2, 6))
    if logarithmic:
        bar.xaxis.set_major_locator(LogLocator(numticks=most))
    else:
        bar.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    bar.xaxis.set_minor_locator(FixedLocator([]))
    bar.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 2)))
    bar.tick_params(labelsize=theme.SMALL, length=2)
    bar.spines[:].set_visible(False)


def _facts(record: Connectivity, limit: float, default: bool, groups: Order, texts: _Texts) -> list[str]:
    """How the barriers were found, and what the frames mean."""
    sizes = np.bincount(groups)
    rule = f"{number(limit, 2)}{' (a tenth of the mean loss of the minima)' if default else ''}"
    together = (
        "framed: joined by barriers of at most" if sizes.max() > 1 else "no two are joined by a barrier of at most"
    )
    facts = [
        f"{together} {rule}",
        f"{count(len(groups))} minima, {plural(len(sizes), 'group')}",
        f"way: {KINDS.get(record.path, record.path)}" + (f" at {count(len(record.s))} points" if len(record.s) else ""),
        ALIGNED.get(record.alignment, f"aligned: {record.alignment}") if record.alignment else "not aligned",
        f"n = {count(record.n)}" if record.n else "",
        "batch norm: statistics of the data at each point" if record.batchnorm == "recompute" else "",
        "±: 95 % for the mean over all data of this kind" if texts.errors else "",
        "" if texts.values else "numbers that do not fit are in the file",
    ]
    missing = int(np.isnan(off_diagonal(record.barriers.copy())).sum() - len(groups)) // 2
    if missing:
        facts.append(f"grey: no finite barrier of {plural(missing, 'pair')}")
    return [fact for fact in facts if fact]
