"""Eigenvalues with their residuals: stems at one point, curves along a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.displaying import is_spread
from landscape.render import theme
from landscape.render.density_figure import OPERATORS
from landscape.render.formats import check_suffix
from landscape.render.numerals import count, number, plural
from landscape.render.value_axis import value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import EigenPairs

Array = NDArray[np.float64]
LEFT, RIGHT, HEIGHT, LINE = 0.74, 0.55, 2.9, 0.145  # inches
LOGARITHMIC_RANGE = 30
IN_REACH = 20  # times the largest eigenvalue: a threshold farther up would flatten the curves
HIDDEN = 0.003  # of the height: a band of half that is behind the line
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
ENDS = {
    "largest": "largest",
    "smallest": "smallest",
    "magnitude": "largest in magnitude",
    "both": "both ends",
}


@theme.themed
def eigenvalues(
    pairs: EigenPairs | Sequence[EigenPairs],
    path: str | os.PathLike[str] | None = None,
    *,
    steps: Sequence[int] | None = None,
    log: bool | str = "auto",
    threshold: Sequence[float] | Array | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the eigenvalues of one set of eigenpairs, or how they change along a run.

    One set: stems with bars of one residual to each side, within which an eigenvalue lies; open symbols are pairs that
    have not converged. A series: one curve per rank with a band of the residuals; curves that cross change ranks.

    Parameters
    ----------
    pairs : EigenPairs or sequence of them
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    steps : sequence of int, optional
        Of a series, ascending. Default: 0, 1, 2, …
    log : bool or "auto"
        Logarithmic eigenvalues; "auto" takes them if all are positive and span more than a factor of 30.
    threshold : (T,) float64, optional
        Of a series: the largest eigenvalue at which the optimizer is stable, such as ``surface.paths[0].threshold`` at
        the same steps; drawn dashed. NaN where none is right.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing to draw, steps or a threshold that do not fit, an unknown suffix, or a logarithm of values that are not
        positive.

    Examples
    --------
    >>> figure = eigenvalues(landscape.load("eigenpairs.h5"), "eigenvalues.svg")  # doctest: +SKIP
    """
    series = list(pairs) if isinstance(pairs, Sequence) else [pairs]
    places = _check(series, steps, alone=not isinstance(pairs, Sequence))
    logarithmic = _is_logarithmic(series, log)
    bears = _check_threshold(threshold, series, places)
    if path is not None:
        check_suffix(path)
    alone = len(series) == 1 and steps is None
    facts = _facts(series[0]) if alone else _series_facts(series)
    if bears is None and threshold is not None and np.isfinite(threshold).any():
        low, high = number(float(np.nanmin(threshold))), number(float(np.nanmax(threshold)))
        facts.append(f"stability threshold {low if low == high else f'{low}–{high}'}: far above the curves")
    figure, axes = _new_axes(facts, title)
    entries = (
        _draw_one(axes, series[0], logarithmic) if alone else _draw_series(axes, series, places, logarithmic, bears)
    )
    name = OPERATORS.get(series[0].operator, series[0].operator)
    axes.set_ylabel(f"eigenvalue of the {name}  (loss per parameter²)", parse_math=False)
    if entries:
        axes.legend(
            [handle for handle, _ in entries], [text for _, text in entries], loc="lower right",
            bbox_to_anchor=(1.0, 1.0), ncols=len(entries), borderpad=0, borderaxespad=0.3, columnspacing=1.2,
        )  # fmt: skip
    if path is not None:
        theme.save_figure(figure, path)
    return figure


def _draw_one(axes: Axes, pairs: EigenPairs, logarithmic: bool) -> list[tuple[Any, str]]:
    values, residuals = np.asarray(pairs.values, float), np.asarray(pairs.residuals, float)
    ranks = np.arange(1, len(values) + 1)
    drawn = np.where(values > 0, values, np.nan) if logarithmic else values
    _limits(axes, [values, values - residuals, values + residuals], logarithmic)
    base = axes.get_ylim()[0] if logarithmic else 0.0
    color = theme.PALETTE[0]
    stems = [color if rank <= _from_the_top(pairs) else theme.PALETTE[1] for rank in ranks]
    axes.vlines(ranks, base, drawn, colors=stems, linewidth=0.9, alpha=0.6, zorder=2)
    low = np.maximum(values - residuals, axes.get_ylim()[0]) if logarithmic else values - residuals
    bars = [drawn - low, residuals]
    axes.errorbar(ranks, drawn, yerr=bars, fmt="none", ecolor=theme.INK, elinewidth=0.9, capsize=2.5, zorder=2.5)
    done = np.asarray(pairs.converged, bool)
    entries: list[tuple[Any, str]] = []
    top = _from_the_top(pairs)
    both = 0 < top < len(values)
    upper = ranks <= top
    for chosen, marker, face, edge, text in (
        (done & upper, "o", color, color, "largest ± residual" if both else "eigenvalue ± residual"),
        (
            done & ~upper,
            "s",
            theme.PALETTE[1],
            theme.PALETTE[1],
            "smallest ± residual" if both else "eigenvalue ± residual",
        ),
        (~done & upper, "o", "white", theme.WARNING, "not converged"),
        (~done & ~upper, "s", "white", theme.WARNING, "not converged"),
    ):
        if chosen.any():
            look: dict[str, Any] = {
                "linestyle": "none", "marker": marker, "markersize": 4.5, "markerfacecolor": face,
                "markeredgecolor": edge,
            }  # fmt: skip
            axes.plot(ranks[chosen], drawn[chosen], **look, zorder=3)
            if text not in [known for _, known in entries]:
                entries.append((Line2D([], [], **look), text))
    entries += _noise(axes, pairs.noise_floor, logarithmic)
    if not logarithmic:
        axes.axhline(0, color=theme.FAINT, linewidth=0.7, zorder=1)
    axes.set_xlim(0.4, len(values) + 0.6)
    texts = [count(rank if rank <= top else len(values) + 1 - rank) for rank in range(1, len(values) + 1)]
    every = next(step for scale in range(9) for step in _strides(10**scale) if len(values) <= 12 * step)
    # From each end inwards: 1, then multiples of a round number.
    shown = [int(rank) for rank in ranks if every == 1 or _is_named(texts[rank - 1], every)]
    last = max(rank for rank in shown if rank <= top)
    shown = [rank for rank in shown if rank <= top or rank - last > 0.6 * every]
    axes.set_xticks(shown, [texts[rank - 1] for rank in shown])
    words = (
        "rank (from the largest, then from the smallest)" if both else f"rank ({ENDS.get(pairs.which, pairs.which)})"
    )
    axes.set_xlabel(words)
    if both:
        axes.axvline(top + 0.5, color=theme.FAINT, linewidth=0.7, linestyle=(0, (3, 2)), zorder=1)
    return entries


def _strides(decade: int) -> tuple[int, ...]:
    return decade, 2 * decade, 5 * decade


def _is_named(text: str, every: int) -> bool:
    rank = int(text.replace("\u202f", ""))
    return rank == 1 or rank % every == 0


def _from_the_top(pairs: EigenPairs) -> int:
    """How many of the pairs belong to the upper end: all, except where both ends were asked for."""
    if pairs.which != "both":
        return len(pairs)
    return (len(pairs) + 1) // 2  # they are found in turns, the largest first


def _draw_series(
    axes: Axes, series: list[EigenPairs], places: NDArray[np.int64], logarithmic: bool, threshold: Array | None
) -> list[tuple[Any, str]]:
    most = max(len(pairs) for pairs in series)
    values, residuals, done = (np.full((len(series), most), fill) for fill in (np.nan, np.nan, 0.0))
    for row, pairs in enumerate(series):
        values[row, : len(pairs)] = pairs.values
        residuals[row, : len(pairs)] = pairs.residuals
        done[row, : len(pairs)] = pairs.converged
    shown_too = [] if threshold is None else [threshold]
    _limits(axes, [values, values - residuals, values + residuals, *shown_too], logarithmic)
    bottom, top = axes.get_ylim()
    colors = [tuple(color) for color in theme.LANDSCAPE(np.linspace(0.0, 0.62, most))]
    for rank in range(most):
        curve = values[:, rank]
        shown = np.where(curve > 0, curve, np.nan) if logarithmic else curve
        low, high = curve - residuals[:, rank], curve + residuals[:, rank]
        if logarithmic:
            low = np.maximum(low, bottom)
        axes.fill_between(places, low, high, color=colors[rank], alpha=0.25, linewidth=0, zorder=2)
        axes.plot(places, shown, color=colors[rank], linewidth=1.2, zorder=4 + 1 / (2 + rank))
        if len(places) <= 60:
            axes.plot(places, shown, linestyle="none", marker="o", markersize=2.6, color=colors[rank], zorder=5)
        open_ones = np.isfinite(curve) & (done[:, rank] == 0)
        look: dict[str, Any] = {
            "linestyle": "none", "marker": "o", "markersize": 4.5, "markerfacecolor": "white",
            "markeredgecolor": theme.WARNING,
        }  # fmt: skip
        axes.plot(places[open_ones], shown[open_ones], **look, zorder=6)
    _name_ranks(axes, series[-1], logarithmic)
    hidden = not logarithmic and float(np.nanmax(residuals)) < HIDDEN * (top - bottom)
    words = "± residual" + (" (narrower than the lines)" if hidden else "")
    entries: list[tuple[Any, str]] = [(Rectangle((0, 0), 1, 1, color=theme.QUIET, alpha=0.25, lw=0), words)]
    if threshold is not None:
        edge: dict[str, Any] = {"color": theme.WARNING, "linewidth": 1.0, "linestyle": (0, (4, 2))}
        axes.plot(places, threshold, **edge, zorder=3)
        entries.append((Line2D([], [], **edge), "stability threshold"))
    if any((~np.asarray(pairs.converged, bool)).any() for pairs in series):
        entries.append((Line2D([], [], **look), "not converged"))
    entries += _noise(axes, max(pairs.noise_floor for pairs in series), logarithmic)
    if not logarithmic and bottom < 0 < top:
        axes.axhline(0, color=theme.FAINT, linewidth=0.7, zorder=1)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    if len(places) == 1:
        axes.set_xticks(places)
    axes.set_xlabel("step")
    return entries


def _name_ranks(axes: Axes, last: EigenPairs, logarithmic: bool) -> None:
    """λ₁, λ₂, … and λₙ, λₙ₋₁, … from the other end at the right of the curves; close ones share a place."""
    point = axes.get_figure().dpi / 72  # type: ignore[union-attr]
    names = [str(rank + 1).translate(SUBSCRIPTS) for rank in range(len(last))]
    if last.which == "smallest":
        names = [_from_below(rank) for rank in range(len(last))]
    elif last.which == "both":
        top = _from_the_top(last)
        names[top:] = [_from_below(len(last) - 1 - rank) for rank in range(top, len(last))]
    known = [
        (float(axes.transData.transform((0, float(value)))[1]), rank)
        for rank, value in enumerate(last.values)
        if np.isfinite(value) and not (logarithmic and value <= 0)
    ]
    for group in _close(sorted(known, reverse=True), 1.2 * theme.SMALL * point):
        ranks = [rank for _, rank in group]
        value = float(axes.transData.inverted().transform((0, _middle(group)))[1])
        ends = [f"λ{names[rank]}" for rank in ([ranks[0], ranks[-1]] if len(ranks) > 1 else ranks)]
        words = ("–" if len(ranks) > 2 else ", ").join(ends)
        if theme.text_width(words, theme.BODY - 1) > RIGHT - 6 / 72:
            words = ends[0] if min(ranks) < len(last) - 1 - max(ranks) else ends[-1]  # the outermost
        axes.annotate(
            words, (1.0, value), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=theme.BODY - 1, color=theme.INK, annotation_clip=False,
        )  # fmt: skip


def _close(places: list[tuple[float, int]], spacing: float) -> list[list[tuple[float, int]]]:
    """Groups of (height, rank), from above, whose means are at least a spacing apart."""
    groups: list[list[tuple[float, int]]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _middle(groups[-2]) - _middle(groups[-1]) < spacing:
            groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def _middle(group: list[tuple[float, int]]) -> float:
    return float(np.mean([height for height, _ in group]))


def _from_below(rank: int) -> str:
    """The index of the smallest, second smallest, …: n, n-1, … as a subscript."""
    return "ₙ" if rank == 0 else "ₙ₋" + str(rank).translate(SUBSCRIPTS)


def _noise(axes: Axes, floor: float, logarithmic: bool) -> list[tuple[Any, str]]:
    """Shade where eigenvalues are rounding; nothing where that is too thin to be seen."""
    bottom, top = axes.get_ylim()
    if floor <= (bottom if logarithmic else 0.004 * (top - bottom)):
        return []
    axes.axhspan(bottom if logarithmic else -floor, floor, color=theme.FAINT, alpha=0.45, linewidth=0, zorder=0)
    return [(Rectangle((0, 0), 1, 1, color=theme.FAINT, alpha=0.45, lw=0), "rounding")]


def _limits(axes: Axes, values: list[Array], logarithmic: bool) -> None:
    every = np.concatenate([np.ravel(part) for part in values])
    every = every[np.isfinite(every)]
    if logarithmic:
        every = np.maximum(every, every[every > 0].min() if (every > 0).any() else 1.0)
    else:
        every = np.append(every, 0.0)  # stems begin there, and the sign of an eigenvalue matters
    value_axis(axes, every, logarithmic, 7)


def _new_axes(facts: list[str], title: str | None) -> tuple[Figure, Axes]:
    lines = theme.joined(facts, theme.SMALL, theme.WIDTH - 0.25)
    below = 0.62 + LINE * len(lines)
    height = below + HEIGHT + (0.55 if title else 0.3)
    figure, axes = theme.new_figure(height)
    axes.set_position((LEFT / theme.WIDTH, below / height, 1 - (LEFT + RIGHT) / theme.WIDTH, HEIGHT / height))
    for index, text in enumerate(reversed(lines)):
        place = (0.02, (0.06 + LINE * index) / height)
        figure.text(*place, text, fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
    if title:
        words = theme.shortened(title, theme.BODY + 1, theme.WIDTH - LEFT - 0.1)
        place = (LEFT / theme.WIDTH, 1 - 0.08 / height)
        figure.text(*place, words, fontsize=theme.BODY + 1, va="top", parse_math=False)
    return figure, axes


def _facts(pairs: EigenPairs) -> list[str]:
    facts = [f"n = {count(pairs.n)}"]
    if np.isfinite(pairs.loss):
        facts.append(f"loss {number(pairs.loss)}")
    facts.append(
        f"largest residual {number(float(np.max(pairs.residuals)), 2)} (asked: {number(pairs.tol, 2)}·|λ| of each)"
    )
    facts.append(f"{count(int(np.sum(pairs.converged)))} of {count(len(pairs))} converged")
    facts.append(f"noise floor {number(pairs.noise_floor, 2)}")
    if pairs.products:
        facts.append(plural(pairs.products, "product"))
    if pairs.restarts:
        facts.append(plural(pairs.restarts, "restart"))
    return facts


def _series_facts(series: list[EigenPairs]) -> list[str]:
    facts = [plural(len(series), "checkpoint"), f"n = {count(series[0].n)}"]
    facts.append(f"{ENDS.get(series[0].which, series[0].which)}, by rank: curves that cross change ranks")
    products = sum(pairs.products for pairs in series)
    return [*facts, plural(products, "product")] if products else facts


def _is_logarithmic(series: list[EigenPairs], log: bool | str) -> bool:
    if log not in (True, False, "auto"):
        raise InputError(f"log is {log!r}; choose True, False or 'auto'")
    values = np.concatenate([np.asarray(pairs.values, float) for pairs in series])
    values = values[np.isfinite(values)]
    positive = len(values) > 0 and bool((values > 0).all())
    if log is True and not positive:
        raise InputError(
            f"log=True, but the smallest eigenvalue is {number(float(values.min()))} and has no logarithm; draw them "
            "with log=False"
        )
    return positive and (log is True or (log == "auto" and is_spread(values, LOGARITHMIC_RANGE)))


def _check_threshold(threshold: Any, series: list[EigenPairs], places: NDArray[np.int64]) -> Array | None:
    """What the optimizer bears at each step; None where nothing is known, or where it would flatten the curves."""
    if threshold is None:
        return None
    values = np.asarray(threshold, float)
    if values.shape != places.shape:
        raise InputError(f"a threshold of shape {values.shape} for {len(places)} sets of eigenpairs; give one for each")
    top = max((float(np.nanmax(pairs.values)) for pairs in series if len(pairs)), default=0.0)
    if not np.isfinite(values).any() or float(np.nanmin(values)) > IN_REACH * top:
        return None
    return values


def _check(series: list[EigenPairs], steps: Sequence[int] | None, alone: bool) -> NDArray[np.int64]:
    """The step of each set of pairs."""
    if not series or all(len(pairs) == 0 for pairs in series):
        raise InputError("there are no eigenpairs to draw: the list is empty")
    for pairs in series:
        if len(pairs.residuals) != len(pairs) or len(pairs.converged) != len(pairs):
            raise InputError(f"{len(pairs)} eigenvalues with {len(pairs.residuals)} residuals: the record is damaged")
    if steps is None:
        return np.arange(len(series))
    if alone:
        raise InputError("steps belong to a series: give a list of eigenpairs with one step for each")
    places = np.asarray(steps)
    if len(places) != len(series) or (np.diff(places) <= 0).any():
        raise InputError(f"{len(places)} steps for {len(series)} sets of eigenpairs; give one for each, ascending")
    return places.astype(np.int64)
