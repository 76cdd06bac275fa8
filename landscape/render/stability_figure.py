"""Sharpness and the threshold of the optimizer along a training."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.density_figure import OPERATORS
from landscape.render.formats import check_suffix
from landscape.render.numerals import count, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.records import Stability

LEFT, RIGHT, TOP, BELOW, HEIGHT = 0.74, 0.3, 0.55, 0.78, 2.7  # inches


@theme.themed
def stability(record: Stability, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
    """Draw the sharpness with its residual, and the threshold above which the optimizer's steps grow on a quadratic.

    Parameters
    ----------
    record : Stability
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing to draw, or an unknown suffix.

    Examples
    --------
    >>> figure = stability(monitor.record(), "stability.svg")  # doctest: +SKIP
    """
    if len(record) == 0:
        raise InputError("there is no measurement to draw: the training was too short for its budget; see overhead=")
    if path is not None:
        check_suffix(path)
    height = BELOW + HEIGHT + TOP
    figure, axes = theme.new_figure(height)
    axes.set_position((LEFT / theme.WIDTH, BELOW / height, 1 - (LEFT + RIGHT) / theme.WIDTH, HEIGHT / height))
    color = theme.PALETTE[0]
    low, high = record.sharpness - record.residuals, record.sharpness + record.residuals
    axes.fill_between(record.steps, low, high, color=color, alpha=0.25, linewidth=0, zorder=2)
    axes.plot(record.steps, record.sharpness, color=color, linewidth=1.2, zorder=4, label="sharpness ± residual")
    if len(record) <= 60:
        axes.plot(record.steps, record.sharpness, linestyle="none", marker="o", markersize=2.6, color=color, zorder=5)
    edge = f"threshold {record.rule}".strip()
    axes.plot(record.steps, record.threshold, color=theme.WARNING, linewidth=1.0, linestyle=(0, (4, 2)), label=edge)
    # A threshold far above would flatten the curve; what matters then is said below.
    top = float(np.nanmax(high))
    edge_top = float(np.nanmax(record.threshold))
    axes.set_ylim(min(0.0, float(np.nanmin(low))), 1.08 * (edge_top if edge_top < 20 * top else top))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    axes.margins(x=0.01)
    axes.set_xlabel("step")
    name = OPERATORS.get(record.operator, record.operator)
    axes.set_ylabel(f"largest eigenvalue of the {name}", parse_math=False)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0, borderaxespad=0.3, columnspacing=1.2
    )
    facts = [
        record.optimizer,
        f"last sharpness / threshold {number(float(record.ratio[-1]), 3)}",
        f"{count(len(record))} measurements",
        f"overhead {number(100 * record.overhead, 2)} %" if np.isfinite(record.overhead) else "",
    ]
    words = theme.joined([fact for fact in facts if fact], theme.SMALL, theme.WIDTH - 0.25)
    figure.text(0.02, 0.06 / height, words[0], fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
    if title:
        place = (LEFT / theme.WIDTH, 1 - 0.08 / height)
        figure.text(*place, title, fontsize=theme.BODY + 1, va="top", parse_math=False)
    if path is not None:
        theme.save_figure(figure, path)
    return figure
