"""Series along a run: eigenvalues against step, and the density as a map of step and eigenvalue."""

from __future__ import annotations

import os
from math import isfinite, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.density_figure import FLOOR, OPERATORS
from landscape.render.eigenvalue_figure import eigenvalues
from landscape.render.eigenvalue_scale import SCALES, cell_edges, eigenvalue_axis, positions
from landscape.render.formats import check_suffix
from landscape.render.numerals import count, number, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import DensitySeries, EigenSeries

Array = NDArray[np.float64]
COLUMNS = 1200  # of the map: about one per printed dot
LEFT, MAP, GAP, LOSS, RIGHT, HEIGHT, LINE = 0.74, 3.65, 0.16, 0.8, 0.1, 3.1, 0.145  # inches
# The theme's own colours from light to dark: white stands for no eigenvalue at all.
DENSITY = ListedColormap(theme.LANDSCAPE(np.linspace(0.97, 0.0, 256)), "density")


def eigenvalue_series(
    series: EigenSeries,
    path: str | os.PathLike[str] | None = None,
    *,
    log: bool | str = "auto",
    threshold: Array | None = None,
    title: str | None = None,
) -> Figure:
    """Draw eigenvalues against the step, by rank, with a band of the residuals.

    Parameters
    ----------
    series : EigenSeries
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    log : bool or "auto"
        Logarithmic eigenvalues; "auto" takes them if all are positive and span more than a factor of 30.
    threshold : (T,) float64, optional
        The largest eigenvalue at which the optimizer is stable, such as ``surface.paths[0].threshold`` at
        the same steps; drawn dashed. NaN where none is right.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        As :func:`~landscape.render.eigenvalues`.

    Examples
    --------
    >>> figure = eigenvalue_series(landscape.load("eigenpairs.h5"), "eigenvalues.svg")  # doctest: +SKIP
    """
    return eigenvalues(list(series), path, steps=series.steps.tolist(), log=log, threshold=threshold, title=title)


@theme.themed
def density_series(
    series: DensitySeries,
    path: str | os.PathLike[str] | None = None,
    *,
    sigma: float | None = None,
    scale: str = "linear",
    title: str | None = None,
) -> Figure:
    """Draw the densities along a run as a map: one row per checkpoint, the loss beside it.

    All rows share one eigenvalue axis and one kernel width. Colours are logarithmic; white is less than a twentieth of
    one eigenvalue's kernel.

    Parameters
    ----------
    series : DensitySeries
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    sigma : float, optional
        Kernel width, loss per parameter². Default: 1 % of the largest |eigenvalue| of all checkpoints.
    scale : str
        Of the eigenvalue axis: "linear", or "symlog" (linear within one sigma of zero, logarithmic beyond).
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing to draw, an unknown scale or suffix, or an impossible sigma.

    Examples
    --------
    >>> figure = density_series(landscape.load("spectrum.h5"), "spectra.svg")  # doctest: +SKIP
    """
    _check(series, sigma, scale)
    if path is not None:
        check_suffix(path)
    densities = list(series)
    width = sigma or max(one.default_sigma for one in densities)
    height = 1 / (series.n * width * sqrt(2 * pi))
    low, high = min(one.lambda_min for one in densities), max(one.lambda_max for one in densities)
    x = positions(low, high, width, scale, COLUMNS)
    rows = np.stack([one.pdf(x, width) for one in densities])
    figure, axes, beside, bar = _new_axes(_facts(series, width, sigma is None), title)
    norm = LogNorm(FLOOR * height, float(rows.max()))
    edges = cell_edges(series.steps)
    image = axes.pcolormesh(
        cell_edges(x, width, scale), edges, np.where(rows < FLOOR * height, np.nan, rows),
        cmap=DENSITY, norm=norm, rasterized=True, linewidth=0,
    )  # fmt: skip
    span = _span(series.steps)
    _dress(axes, x, width, scale, span)
    missed = ~series.converged
    if missed.any():
        axes.plot(
            np.full(int(missed.sum()), 1.012), series.steps[missed], transform=axes.get_yaxis_transform(),
            linestyle="none", marker="<", markersize=3, color=theme.WARNING, clip_on=False,
        )  # fmt: skip
    name = OPERATORS.get(densities[0].operator, densities[0].operator)
    axes.set_xlabel(f"eigenvalue λ of the {name}  (loss per parameter²)", parse_math=False)
    axes.set_ylabel("step")
    _draw_loss(beside, series, span)
    _draw_bar(figure, bar, image, height, float(rows.max()))
    if path is not None:
        theme.save_figure(figure, path)
    return figure


def _check(series: DensitySeries, sigma: float | None, scale: str) -> None:
    if len(series) == 0:
        raise InputError("there is no density to draw: the series is empty")
    if sigma is not None and not (sigma > 0 and isfinite(sigma)):
        raise InputError(f"sigma is {sigma!r}; give a positive width in units of the eigenvalues, or none for 1 %")
    if scale not in SCALES:
        raise InputError(f"scale is {scale!r}; choose one of: {', '.join(SCALES)}")


def _span(steps: NDArray[Any]) -> tuple[float, float]:
    """From the first to the last step: the outer halves of the outermost rows belong to no step."""
    first, last = float(steps[0]), float(steps[-1])
    return (first, last) if last > first else (first - 0.5, first + 0.5)


def _new_axes(facts: list[str], title: str | None) -> tuple[Figure, Axes, Axes, Axes]:
    """Axes of the map, the loss and the colours, above a caption."""
    lines = theme.joined(facts, theme.SMALL, theme.WIDTH - 0.25)
    below = 0.62 + LINE * len(lines)
    total = below + HEIGHT + (0.5 if title else 0.28)
    figure, axes = theme.new_figure(total)
    beside, bar = figure.add_subplot(), figure.add_subplot()

    def place(one: Axes, left: float, width: float, bottom: float = below, height: float = HEIGHT) -> None:
        one.set_position((left / theme.WIDTH, bottom / total, width / theme.WIDTH, height / total))

    place(axes, LEFT, MAP)
    place(beside, LEFT + MAP + GAP, LOSS)
    place(bar, LEFT + MAP + GAP + LOSS + RIGHT, 0.1, below + 0.2 * HEIGHT, 0.6 * HEIGHT)
    for index, text in enumerate(reversed(lines)):
        where = (0.02, (0.06 + LINE * index) / total)
        figure.text(*where, text, fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
    if title:
        words = theme.shortened(title, theme.BODY + 1, theme.WIDTH - LEFT - 0.1)
        figure.text(LEFT / theme.WIDTH, 1 - 0.08 / total, words, fontsize=theme.BODY + 1, va="top", parse_math=False)
    return figure, axes, beside, bar


def _dress(axes: Axes, x: Array, sigma: float, scale: str, span: tuple[float, float]) -> None:
    eigenvalue_axis(axes, "x", (x[0], x[-1]), sigma, scale)
    axes.set_ylim(*span)
    axes.yaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    if x[0] < 0 < x[-1]:
        axes.axvline(0, color=theme.FAINT, linewidth=0.7, zorder=3)


def _draw_loss(axes: Axes, series: DensitySeries, span: tuple[float, float]) -> None:
    """The loss at the checkpoints, steps upwards as in the map."""
    loss = np.asarray(series.loss, float)
    finite = loss[np.isfinite(loss)]
    positive = len(finite) > 0 and bool((finite > 0).all())
    logarithmic = positive and float(finite.max()) > 10 * float(finite.min())
    axes.plot(loss, series.steps, color=theme.PALETTE[1], linewidth=1.1)
    axes.plot(loss, series.steps, linestyle="none", marker="o", markersize=2, color=theme.PALETTE[1], clip_on=False)
    if logarithmic:
        axes.set_xscale("log", nonpositive="mask")
        decades = np.log10(finite.max() / finite.min())
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 3.0), numticks=4))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 2)))
    axes.set_ylim(*span)
    axes.set_yticks([])
    axes.set_xlabel("loss" + (" (log)" if logarithmic else ""))


def _draw_bar(figure: Figure, bar: Axes, image: Any, height: float, top: float) -> None:
    """What the colours mean, with the height of one eigenvalue."""
    figure.colorbar(image, cax=bar)
    bar.yaxis.set_major_locator(LogLocator(numticks=7))
    bar.yaxis.set_minor_locator(FixedLocator([]))
    bar.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
    bar.tick_params(labelsize=theme.SMALL, length=2)
    bar.axhline(height, color="white", linewidth=1.2)
    bar.axhline(height, color=theme.WARNING, linewidth=0.8)
    bar.set_title("share per\nunit of λ", fontsize=theme.SMALL, loc="left", pad=5)
    bar.set_xlabel("red line: one\neigenvalue", fontsize=theme.SMALL, color=theme.QUIET, loc="left")


def _facts(series: DensitySeries, sigma: float, default: bool) -> list[str]:
    errors = np.asarray(series.facts["error"], float)
    asked = float(series.facts["tol"][0])
    facts = [plural(len(series), "checkpoint"), f"n = {count(series.n)}"]
    facts.append(f"σ = {number(sigma)}" + (" (1 % of the largest |λ| of all)" if default else ""))
    if np.isfinite(errors).any():
        facts.append(f"predicted error at most {number(float(np.nanmax(errors)), 2)} (asked: {number(asked, 2)})")
    if not series.converged.all():
        facts.append(f"◂ {count(int((~series.converged).sum()))} not as accurate as asked for")
    return [*facts, plural(series.products, "product")]
