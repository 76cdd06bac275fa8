"""The curves of a path between two minima: loss with its band, chord and barrier; what is known beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.displaying import LOGARITHMIC_RANGE, is_spread
from landscape.render import theme
from landscape.render.merging import numbered
from landscape.render.numerals import number, uncertain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.records import PathProfile

Array = NDArray[np.float64]
# Kind of a path → what it is called.
KINDS = {
    "linear": "straight line",
    "spherical": "great circle",
    "bezier": "Bézier curve",
    "polygon": "polygonal chain",
    "band": "elastic band",
}
FINE = 400  # places at which a chord is drawn: it is no straight line on a logarithmic scale
LOSS, TEST, STALE, CHORD = theme.PALETTE[0], theme.PALETTE[1], theme.PALETTE[2], theme.QUIET
SEVERAL, SMALLEST, ALONG = "#B84A00", "#A3217F", theme.INK  # eigenvalues: the largest, the smallest; the curvature
DASHED, DOTTED = (0, (5, 1.5)), (0, (1.2, 1.4))


class PathCurve(NamedTuple):
    """A quantity along a path.

    Attributes
    ----------
    name : str
        For the key.
    values : (p,) float64
    color : str
    dashes : str or tuple
    """

    name: str
    values: Array
    color: str
    dashes: object = "-"


def check_profiles(records: Sequence[PathProfile]) -> None:
    """Refuse what cannot be drawn together.

    Raises
    ------
    InputError
        None, points that do not ascend, no finite loss at all, arrays of other lengths, or different networks.
    """
    if not records:
        raise InputError("there is no path to draw: the list is empty")
    for record in records:
        p = len(record.s)
        if p == 0 or len(record.loss) != p or (np.diff(record.s) <= 0).any() or not np.isfinite(record.s).all():
            raise InputError(
                f"the path has {p} points and {len(record.loss)} losses; it needs as many of both, at least one, at "
                "finite places that ascend"
            )
        if not np.isfinite(record.loss).any():
            raise InputError("there is nothing to draw: no point of the path has a finite loss")
        held = len(next(iter(record.lengths.values()), ()))
        if held not in (0, p):
            raise InputError(f"the path has {p} points, but {held} densities; compute it again with spectra=True")
    sizes = sorted({record.n for record in records if record.n})
    if len(sizes) > 1:
        raise InputError(
            f"the paths belong to networks of different sizes: {', '.join(map(str, sizes))} parameters; draw one "
            "figure for each"
        )


def path_names(records: Sequence[PathProfile], names: Sequence[str] | None) -> list[str]:
    """What the paths are called: as asked for, or by what they are, numbered where that is the same.

    Raises
    ------
    InputError
        A wrong number of names.
    """
    if names is not None and len(names) != len(records):
        raise InputError(f"{len(names)} names for {len(records)} paths; give one name for each")
    return list(names) if names is not None else numbered([_described(record) for record in records])


def _described(record: PathProfile) -> str:
    """Kind, alignment and statistics of a path, in a few words."""
    repaired = record.batchnorm == "recompute"
    return ", ".join([kind_of(record), *(["aligned"] if record.alignment else []), *(["repaired"] if repaired else [])])


def kind_of(record: PathProfile) -> str:
    """The kind of a path in words."""
    return KINDS.get(record.path, record.path)


def span_of(records: Sequence[PathProfile]) -> tuple[float, float]:
    """First and last place of some paths; a single point has some room."""
    first, last = min(float(one.s[0]) for one in records), max(float(one.s[-1]) for one in records)
    return (first, last) if last > first else (first - 0.5, first + 0.5)


def end_losses(record: PathProfile) -> Array:
    """Loss at the minima, ``(2,)``: their own where it is known, otherwise that of the curve."""
    curve = [float(record.loss[record.s == place][0]) if (record.s == place).any() else np.nan for place in (0, 1)]
    return np.where(np.isfinite(record.end_loss), record.end_loss, curve)


def fine_chord(record: PathProfile) -> tuple[Array, Array]:
    """Places from end to end, and the chord there; NaN if an end is not known."""
    s = np.linspace(0.0, 1.0, FINE)
    known = [record.loss[record.s == place] for place in (0.0, 1.0)]
    first, last = (float(one[0]) if len(one) else np.nan for one in known)
    return s, (1 - s) * first + s * last


def loss_curves(record: PathProfile) -> list[PathCurve]:
    """The loss, and beside it that of test data and that without statistics of its own."""
    found = [PathCurve("loss", _finite(record.loss), LOSS)]
    if "test_loss" in record.metrics:
        found.append(PathCurve("test data", _finite(record.metrics["test_loss"]), TEST, DASHED))
    if len(record.unrepaired_loss) == len(record.s):
        found.append(PathCurve("not repaired", _finite(record.unrepaired_loss), STALE, DOTTED))
    return found


def metric_of(records: Sequence[PathProfile]) -> str | None:
    """The metric that is drawn: "accuracy", or else the first that is known."""
    known = [name for record in records for name in record.metrics if not name.startswith("test_")]
    return "accuracy" if "accuracy" in known else known[0] if known else None


def metric_curves(record: PathProfile, metric: str) -> list[PathCurve]:
    """A metric on the data and on test data, as far as it is known."""
    names = ((metric, "these data", LOSS, "-"), (f"test_{metric}", "test data", TEST, DASHED))
    return [
        PathCurve(words, _finite(record.metrics[name]), color, dashes)
        for name, words, color, dashes in names
        if name in record.metrics
    ]


def overlap_curves(record: PathProfile, named: bool = True) -> list[PathCurve]:
    """How much of the path's direction, and of the spans at its ends, lies in the span of the eigenvectors.

    Parameters
    ----------
    record : PathProfile
    named : bool
        Whether the ends are called by their names.
    """
    found = []
    if len(record.tangent_overlap) == len(record.s):
        found.append(PathCurve("of the path", _finite(record.tangent_overlap), ALONG))
    if len(record.end_overlap) == len(record.s):
        for index, color in enumerate((LOSS, TEST)):
            words = f"with {record.end_names[index]}" if named else f"with end {index}"
            found.append(PathCurve(words, _finite(record.end_overlap[:, index]), color, ("-", DASHED)[index]))
    return found


def eigenvalue_curves(record: PathProfile) -> list[PathCurve]:
    """The largest eigenvalues, the smallest, and the curvature of the loss along the path, which lies between them."""
    k = record.values.shape[1] if record.values.ndim == 2 and len(record.values) == len(record.s) else 0
    words = f"{k} largest λ" if k > 1 else "largest λ"
    found = [PathCurve(words if not rank else "", _finite(record.values[:, rank]), SEVERAL) for rank in range(k)]
    if len(record.smallest) == len(record.s):
        found.append(PathCurve("smallest λ", _finite(record.smallest), SMALLEST))
    if len(record.curvatures) == len(record.s):
        found.append(PathCurve("curvature", _finite(record.curvatures), ALONG, DOTTED))
    return found


def loss_values(record: PathProfile, level: float, logarithmic: bool) -> Array:
    """Everything that a panel of the loss must hold."""
    low, high = band_of(record, level, logarithmic)
    ends = fine_chord(record)[1][[0, -1]]  # what is between them is rounding where they are equal
    every = [low, high, end_losses(record), ends, *(one.values for one in loss_curves(record))]
    values = np.concatenate(every)
    return values[np.isfinite(values)]


def band_of(record: PathProfile, level: float, logarithmic: bool) -> tuple[Array, Array]:
    """The band of the loss; on a logarithmic scale it ends at the lowest positive loss where it has no logarithm."""
    low, high = record.band(level)
    if logarithmic:
        positive = record.loss[np.isfinite(record.loss) & (record.loss > 0)]
        low = np.where(low > 0, low, positive.min())
    return np.where(np.isfinite(high), low, np.nan), high


def is_logarithmic(records: Sequence[PathProfile], log: bool | str) -> bool:
    """Whether the losses are drawn on a logarithmic scale.

    Raises
    ------
    InputError
        `log` is none of True, False and "auto", or asks for logarithms that do not exist.
    """
    if log not in (True, False, "auto"):
        raise InputError(f"log is {log!r}; choose True, False or 'auto'")
    every = np.concatenate([one.values for record in records for one in loss_curves(record)])
    finite = every[np.isfinite(every)]
    if log is True and finite.min() <= 0:
        raise InputError("log=True, but some losses are not positive and have no logarithm; draw them with log=False")
    return is_spread(finite, LOGARITHMIC_RANGE) if log == "auto" else bool(log)


def is_barrier(record: PathProfile) -> bool:
    """Whether the loss exceeds the chord by more than rounding."""
    largest = float(np.abs(record.loss[np.isfinite(record.loss)]).max(initial=0.0))
    return bool(np.isfinite(record.barrier) and record.barrier > 8 * np.finfo(float).eps * largest)


def barrier_text(record: PathProfile, level: float) -> str:
    """The barrier with half the width of its interval; "" if it is not known."""
    if not np.isfinite(record.barrier):
        return ""
    if not is_barrier(record):
        return "no barrier"
    return f"barrier {uncertain(record.barrier, record.barrier_band(level)[1] - record.barrier)}"


def draw_curves(axes: Axes, s: Array, curves: Sequence[PathCurve], width: float = 1.2, order: float = 3.0) -> None:
    """Draw curves with their names; a point between two holes has no line, and gets a dot."""
    for curve in curves:
        look = {"color": curve.color, "zorder": order}
        label = curve.name or "_nolegend_"
        axes.plot(s, curve.values, linewidth=width, linestyle=curve.dashes, label=label, **look)  # type: ignore[arg-type]
        known = np.isfinite(curve.values)
        alone = known & ~np.concatenate([[False], known[:-1]]) & ~np.concatenate([known[1:], [False]])
        if alone.any():
            axes.plot(s[alone], curve.values[alone], linestyle="none", marker="o", markersize=2 * width, **look)  # type: ignore[arg-type]


def draw_loss(axes: Axes, record: PathProfile, level: float, logarithmic: bool, scale: float = 1.0) -> None:
    """Draw the loss with its band, chord and ends, in axes that have their limits.

    Parameters
    ----------
    axes : Axes
    record : PathProfile
    level : float
        Of the band.
    logarithmic : bool
        Whether the axis is.
    scale : float
        Of lines and markers: 1 in a printed figure.
    """
    low, high = band_of(record, level, logarithmic)
    if np.isfinite(low).any():
        words = f"{100 * level:.3g} % band"
        axes.fill_between(record.s, low, high, color=LOSS, alpha=0.25, linewidth=0, zorder=2, label=words)
    first, *others = loss_curves(record)
    draw_curves(axes, record.s, [first], 1.4 * scale, 4)
    draw_curves(axes, record.s, others, 1.1 * scale, 3)
    chord = fine_chord(record)
    if np.isfinite(chord[1]).all():
        axes.plot(*chord, color=CHORD, linewidth=0.8 * scale, linestyle=(0, (3, 2)), zorder=2.5, label="chord")
    ends = end_losses(record)
    axes.plot(
        [0, 1], ends, linestyle="none", marker="D", markersize=4.2 * scale, markerfacecolor="white",
        markeredgecolor=theme.INK, markeredgewidth=0.9 * scale, zorder=6, clip_on=False, label="minima",
    )  # fmt: skip


def mark_barrier(axes: Axes, record: PathProfile, level: float, size: float, scale: float = 1.0) -> None:
    """Draw an arrow from the chord to the loss where the barrier is, and write how high it is above all curves there.

    The limits of the axes are raised where the words need it.
    """
    words = barrier_text(record, level)
    if not words:
        return
    figure = axes.get_figure()
    dots, box = figure.dpi, axes.get_window_extent()  # type: ignore[union-attr]
    room = box.width / dots - 0.08
    if theme.text_width(words, size) > room:
        words = words.removeprefix("barrier ")
    words = theme.shortened(words, size, room)
    place = 0.5
    if is_barrier(record):
        place, low = record.barrier_at, float(record.chord[record.s == record.barrier_at][0])
        high = low + record.barrier
        axes.annotate(
            "", (place, high), (place, low), zorder=5,
            arrowprops={"arrowstyle": "<->", "linewidth": 0.9 * scale, "color": theme.INK, "shrinkA": 0, "shrinkB": 0,
                        "mutation_scale": 6 * scale},
        )  # fmt: skip
    width, height = theme.text_width(words, size) * dots, 1.2 * size / 72 * dots
    inset = 0.04 * dots + width / 2
    middle = float(np.clip(_across(axes, place), box.x0 + inset, box.x1 - inset))
    s = np.linspace(middle - width / 2, middle + width / 2, 60)
    s = axes.transData.inverted().transform(np.column_stack([s, np.full(60, box.y0)]))[:, 0]
    peak = _highest(record, level, s)
    gap = 3.5 * scale / 72 * dots
    for _ in range(2):  # raising the limit lowers the curve a little
        up = float(axes.transData.transform((place, peak))[1])
        missing = up + gap + height - box.y1
        if missing <= 0:
            break
        bottom, _ = axes.get_ylim()
        ends = axes.transData.inverted().transform([[box.x0, box.y0], [box.x0, box.y1 + 1.35 * missing]])[:, 1]
        axes.set_ylim(bottom, float(ends[1]))
        up = float(axes.transData.transform((place, peak))[1])
    x, y = (float(one) for one in axes.transAxes.inverted().transform((middle, up + gap)))
    axes.text(
        x, y, words, transform=axes.transAxes, fontsize=size,
        ha="center", va="bottom", zorder=7, parse_math=False,
    )  # fmt: skip


def key_handles(curves: Sequence[PathCurve], width: float = 1.4) -> list[tuple[Line2D, str]]:
    """Lines and names for a key."""
    return [
        (Line2D([], [], color=one.color, linewidth=width, linestyle=one.dashes), one.name)  # type: ignore[arg-type]
        for one in curves
        if one.name
    ]


def facts_of(record: PathProfile) -> list[str]:
    """What is known of a path as such: how it was made, how long it is."""
    found = [record.path_source or kind_of(record)]
    if np.isfinite(record.distance):
        found.append(f"{number(record.distance)} from end to end")
    if np.isfinite(record.length) and not np.isclose(record.length, record.distance, rtol=1e-3):
        found.append(f"{number(record.length)} long")
    return found


def _highest(record: PathProfile, level: float, s: Array) -> float:
    """The greatest value that is drawn at some places."""
    found = [float(record.loss[np.isfinite(record.loss)].min())]
    for values in (band_of(record, level, False)[1], *(one.values for one in loss_curves(record))):
        known = np.isfinite(values)
        inside = (s >= record.s[0]) & (s <= record.s[-1])
        if known.any() and inside.any():
            found.append(float(np.interp(s[inside], record.s[known], values[known]).max()))
    ends = end_losses(record)
    found += [float(loss) for place, loss in zip((0, 1), ends, strict=True) if s[0] <= place <= s[-1] and loss == loss]
    return max(found)


def _across(axes: Axes, place: float) -> float:
    """Where a place along the path is, in pixels."""
    return float(axes.transData.transform((place, axes.get_ylim()[0]))[0])


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)
