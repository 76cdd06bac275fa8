"""The loss along a line: the curve with its band, its quadratic model, test data, and named points."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.displaying import LOGARITHMIC_RANGE, is_spread
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.numerals import count, number, plural
from landscape.render.value_axis import value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import Profile

Array = NDArray[np.float64]
LEFT, RIGHT, TOP, BELOW, HEIGHT = 0.74, 0.3, 0.55, 0.92, 2.8  # inches
# What batch norm used → words for below the figure.
STATISTICS = {
    "eval": "batch norm: statistics of the origin",
    "recompute": "batch norm: statistics of the data at each point",
    "batch": "batch norm: statistics of each micro-batch",
}


@theme.themed
def profile(
    record: Profile,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    level: float = 0.95,
    log: bool | str = "auto",
    model: bool = True,
    title: str | None = None,
) -> Figure:
    """Draw the loss along a line, with the band in which its mean over all data of this kind is at each point.

    Parameters
    ----------
    record : Profile
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    metric : str, optional
        Draw one of the metrics instead, without band and model.
    level : float
        Of the band.
    log : bool or "auto"
        "auto" is logarithmic for a loss that is positive and spans more than a factor of 20.
    model : bool
        Draw the quadratic with the slope and curvature at s = 0, if they are known, where it does not leave the figure.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing to draw, an unknown metric or suffix, or values without a logarithm.

    Examples
    --------
    >>> figure = profile(record, "profile.svg")  # doctest: +SKIP
    """
    if path is not None:
        check_suffix(path)
    if metric is not None and metric not in record.metrics:
        known = ", ".join(record.metrics) or "none"
        raise InputError(f"the profile has no metric {metric!r}; it has: {known} (leave it out for the loss)")
    values = record.loss if metric is None else record.metrics[metric]
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        raise InputError("there is nothing to draw: no point of the line has a finite value")
    logarithmic = _is_logarithmic(finite, log, metric is None)
    height = BELOW + HEIGHT + TOP
    figure, axes = theme.new_figure(height)
    axes.set_position((LEFT / theme.WIDTH, BELOW / height, 1 - (LEFT + RIGHT) / theme.WIDTH, HEIGHT / height))
    axes.plot(record.s, values, color=theme.PALETTE[0], linewidth=1.4, zorder=4, label=metric or "loss")
    drawn = [finite, *(_beside(axes, record, level, logarithmic) if metric is None else ())]
    if np.isnan(values).any() or len(finite) < 3:  # a point between two holes has no line
        axes.plot(record.s, values, linestyle="none", marker="o", markersize=2.4, color=theme.PALETTE[0], zorder=4)
    if metric is None:
        drawn.append(_anchors(axes, record))
    value_axis(axes, np.concatenate([one[np.isfinite(one)] for one in drawn]), logarithmic, 7)
    if metric is None and model:
        _model(axes, record)
    axes.set_xlim(record.s[0], record.s[-1])
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(
        theme.shortened(f"{record.axis} ({record.unit})", theme.BODY, theme.WIDTH - LEFT - RIGHT), parse_math=False
    )
    axes.set_ylabel(theme.shortened(metric or "loss", theme.BODY, HEIGHT), parse_math=False)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderpad=0, borderaxespad=0.3, columnspacing=1.1
    )
    for line, words in enumerate(_facts(record)[::-1]):
        place = (0.02, (0.06 + 0.13 * line) / height)
        figure.text(*place, words, fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
    if title:
        place = (LEFT / theme.WIDTH, 1 - 0.06 / height)
        words = theme.shortened(title, theme.BODY + 1, theme.WIDTH - LEFT - RIGHT)
        figure.text(*place, words, fontsize=theme.BODY + 1, va="top", parse_math=False)
    if path is not None:
        theme.save_figure(figure, path)
    return figure


def _beside(axes: Axes, record: Profile, level: float, logarithmic: bool) -> list[Array]:
    """The band and the loss of test data; what of it decides about the height of the figure."""
    low, high = record.band(level)
    if logarithmic:
        low = np.where(low > 0, low, np.nanmin(record.loss[record.loss > 0]))
    found: list[Array] = []
    if np.isfinite(low).any():
        words = f"{100 * level:.3g} % band of the data"
        color = theme.PALETTE[0]
        axes.fill_between(record.s, low, high, color=color, alpha=0.25, linewidth=0, zorder=2, label=words)
        found += [low, high]
    if "test_loss" in record.metrics:
        test = record.metrics["test_loss"]
        axes.plot(
            record.s, test, color=theme.PALETTE[1], linewidth=1.2, linestyle=(0, (5, 1.5)), zorder=3, label="test"
        )
        found.append(test)
    return found


def _model(axes: Axes, record: Profile) -> None:
    """The quadratic, within the height that the losses have."""
    if not np.isfinite(record.model).any():
        return
    bottom, top = axes.get_ylim()
    s = np.linspace(record.s[0], record.s[-1], 400)
    values = record.loss_at_origin + record.slope * s + record.curvature * s**2 / 2
    inside = np.where((values >= bottom) & (values <= top), values, np.nan)
    if np.isfinite(inside).any():
        style = {"color": theme.QUIET, "linewidth": 1.1, "linestyle": (0, (1.2, 1.6))}
        axes.plot(s, inside, zorder=3, label="quadratic", **style)  # type: ignore[arg-type]


def _anchors(axes: Axes, record: Profile) -> Array:
    """Named points, those at the ends with their names inwards; their losses."""
    shown = np.isfinite(record.anchor_loss) & (record.anchor_s >= record.s[0]) & (record.anchor_s <= record.s[-1])
    width = record.s[-1] - record.s[0]
    for name, place, loss in zip(
        record.anchor_names[shown], record.anchor_s[shown], record.anchor_loss[shown], strict=True
    ):
        share = (place - record.s[0]) / width
        side = "left" if share < 0.15 else "right" if share > 0.85 else "center"
        axes.plot([place], [loss], marker="D", markersize=4.2, color=theme.INK, zorder=6, clip_on=False)
        axes.annotate(
            theme.shortened(str(name), theme.SMALL, 1.5),
            (place, loss),
            ({"left": 4.0, "center": 0.0, "right": -4.0}[side], -6.5),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=theme.SMALL,
            zorder=7,
            parse_math=False,
            annotation_clip=False,
        )
    return np.asarray(record.anchor_loss[shown], float)


def _facts(record: Profile) -> list[str]:
    """What is known of the line, in one or two lines of small print."""
    parts = record.provenance.get("parts", "parts of the data")
    known = np.isfinite([record.slope, record.curvature]).all()
    facts = [
        record.axis_source,
        f"slope {number(record.slope)}, curvature {number(record.curvature)} at 0" if known else "",
        f"band: mean over all data of this kind, from {count(len(record.samples))} {parts}, point by point"
        if len(record.samples) > 1
        else "",
        f"{plural(record.n, 'parameter')}" if record.n else "",
        STATISTICS.get(record.batchnorm, ""),
        f"{plural(record.holes, 'point')} without a finite loss" if record.holes else "",
    ]
    return theme.joined([fact for fact in facts if fact], theme.SMALL, theme.WIDTH - 0.25)


def _is_logarithmic(finite: Array, log: bool | str, automatic: bool) -> bool:
    if log not in (True, False, "auto"):
        raise InputError(f"log is {log!r}; choose True, False or 'auto'")
    if log is True and finite.min() <= 0:
        raise InputError("log=True, but some values are not positive and have no logarithm; draw them with log=False")
    if log != "auto":
        return bool(log)
    return automatic and is_spread(finite, LOGARITHMIC_RANGE)
