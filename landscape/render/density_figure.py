"""The eigenvalue density: a smoothed curve on a logarithmic scale, its band, and the resolved eigenvalues as stems."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import isfinite, log, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.legend_handler import HandlerTuple
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records import is_vague
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.numerals import count, number, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import SpectralDensity

Array = NDArray[np.float64]
SCALES = ("linear", "symlog")
FLOOR = 1 / 20  # of one eigenvalue's kernel height: what is lower stands for no eigenvalue at all
POINTS = 1600  # of the curve: about one per printed dot
# A band whose ends differ by less than this factor is hidden by the line on the logarithmic axis.
NARROW = 1.1
MOSTLY = 0.95  # of the visible curve
CAPTION_STEP = 0.145  # inches between the lines below the axes
OPERATORS = {
    "hessian": "Hessian",
    "gauss-newton": "Gauss-Newton",
    "fisher": "empirical Fisher",
    "gradient-covariance": "gradient covariance",
}


@theme.themed
def density(
    record: SpectralDensity | Sequence[SpectralDensity],
    path: str | os.PathLike[str] | None = None,
    *,
    sigma: float | None = None,
    level: float = 0.95,
    scale: str = "linear",
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw one eigenvalue density, or overlay several.

    The curve is the density smoothed by a Gaussian of width `sigma`. Resolved eigenvalues are stems that end at the
    height of one eigenvalue, 1/(n·sigma·√(2π)); the axis begins at a twentieth of it.

    Parameters
    ----------
    record : SpectralDensity or sequence of them
        What to draw; several share one sigma.
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    sigma : float, optional
        Kernel width, loss per parameter². Default: 1 % of the largest |eigenvalue|.
    level : float
        Of the pointwise confidence band; 0 draws none.
    scale : str
        Of the eigenvalue axis: "linear", or "symlog" (linear within one sigma of zero, logarithmic beyond).
    labels : sequence of str, optional
        One per density. Default: the name of its operator, numbered if there are several.
    title : str, optional
        Written above the axes.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing to draw, an unknown scale or suffix, or an impossible sigma, level or number of labels.

    Examples
    --------
    >>> figure = density(landscape.load("spectrum.h5"), "spectrum.svg")  # doctest: +SKIP
    """
    records = list(record) if isinstance(record, Sequence) else [record]
    _check(records, sigma, level, scale, labels)
    if path is not None:
        check_suffix(path)
    names = list(labels) if labels is not None else _default_labels(records)
    width = sigma or max(item.default_sigma for item in records)
    heights = [1 / (item.n * width * sqrt(2 * pi)) for item in records]
    floor = FLOOR * min(heights)

    lines = _caption(records, names, width, level, default=sigma is None)
    figure, axes = _new_axes(len(lines), title)
    x = _positions(records, width, scale)
    top = max(heights)
    entries: list[tuple[Any, str]] = []
    for index, item in enumerate(records):
        color, style = theme.PALETTE[index % len(theme.PALETTE)], ("-", "--", ":")[index // len(theme.PALETTE) % 3]
        curve, low, high = _evaluate(item, x, width, level)
        top = max(top, float(high.max()))
        invisible = floor / 10  # zero has no logarithm
        area = axes.fill_between(
            x, np.maximum(low, invisible), np.maximum(high, invisible), color=color, alpha=0.25, lw=0
        )
        (line,) = axes.plot(x, np.maximum(curve, invisible), color=color, linestyle=style, zorder=3)
        stems = _draw_stems(axes, item, floor, heights[index], color if len(records) > 1 else theme.PALETTE[1])
        resolved = int(item.resolved.sum())
        if len(records) > 1:
            entries.append(((area, line), f"{names[index]}, {resolved} resolved"))
        else:
            band = f", {100 * level:g} % band" if level > 0 else ""
            if level > 0 and np.mean((high < NARROW * low)[curve >= floor]) > MOSTLY:
                band += "\n(narrower than the line)"
            entries.append(((area, line), f"{names[index]}{band}"))
        if stems is not None and len(records) == 1:
            entries.append((stems, f"{plural(resolved, 'resolved eigenvalue')}"))
    if len({item.n for item in records}) == 1:
        _mark_one_eigenvalue(axes, heights[0])
    axes.set_yscale("log")
    axes.set_ylim(floor, 2.5 * top)
    _dress_axes(axes, x, width, scale)
    right = max(item.lambda_max for item in records) >= -min(item.lambda_min for item in records)
    axes.legend(
        [handle for handle, _ in entries],
        [text for _, text in entries],
        loc="upper right" if right else "upper left",  # the peak at zero is on the other side
        handler_map={tuple: HandlerTuple(ndivide=1, pad=0)},
    )
    _write_caption(figure, lines)
    if path is not None:
        theme.save_figure(figure, path)
    return figure


def _check(records: list[Any], sigma: float | None, level: float, scale: str, labels: Sequence[str] | None) -> None:
    if not records:
        raise InputError("there is no density to draw: the list is empty")
    if sigma is not None and not (sigma > 0 and isfinite(sigma)):
        raise InputError(f"sigma is {sigma!r}; give a positive width in units of the eigenvalues, or none for 1 %")
    if not 0 <= level < 1:
        raise InputError(
            f"level is {level!r}; give the level of the band as a fraction, such as 0.95, or 0 for no band"
        )
    if scale not in SCALES:
        raise InputError(f"scale is {scale!r}; choose one of: {', '.join(SCALES)}")
    if labels is not None and len(labels) != len(records):
        raise InputError(f"{len(labels)} labels for {len(records)} densities; give one label for each")


def _default_labels(records: list[SpectralDensity]) -> list[str]:
    names = [OPERATORS.get(item.operator, item.operator) for item in records]
    return names if len(set(names)) == len(names) else [f"{name} {index + 1}" for index, name in enumerate(names)]


def _new_axes(caption_lines: int, title: str | None) -> tuple[Figure, Axes]:
    """Axes of a fixed height above a caption of so many lines."""
    below = 0.62 + CAPTION_STEP * caption_lines  # inches
    above = 0.34 if title else 0.12
    height = below + 2.9 + above
    figure, axes = theme.new_figure(height)
    axes.set_position((0.105, below / height, 0.79, 2.9 / height))
    if title:
        axes.set_title(title, pad=8)
    return figure, axes


def _positions(records: list[SpectralDensity], sigma: float, scale: str) -> Array:
    """Where the curve is evaluated, (p,) ascending: dense everywhere, and around each node where sigma is narrow."""
    low, high = min(item.lambda_min for item in records), max(item.lambda_max for item in records)
    reach = sqrt(2 * log(max(item.n for item in records) / FLOOR))  # where even all n in one place end at the floor
    margin = max((reach + 0.3) * sigma, 0.02 * (high - low))
    low, high = low - margin, high + margin
    if scale == "linear":
        x = np.linspace(low, high, POINTS)
    else:
        forward = np.arcsinh(np.array([low, high]) / sigma)
        x = np.sinh(np.linspace(forward[0], forward[1], POINTS)) * sigma
    if np.diff(x).max() > sigma / 6:
        offsets = sigma * np.linspace(-reach, reach, 49)
        around = [np.add.outer(item.nodes, offsets).ravel() for item in records]
        x = np.unique(np.concatenate([x, *around]))
        x = x[(x >= low) & (x <= high)]
    return x


def _evaluate(record: SpectralDensity, x: Array, sigma: float, level: float) -> tuple[Array, Array, Array]:
    """Density, and lower and upper end of its band, at x: in pieces, as each needs x times nodes numbers at once."""
    pieces = np.array_split(x, max(1, len(x) * len(record.nodes) // 2_000_000))
    curve = np.concatenate([record.pdf(piece, sigma) for piece in pieces])
    if level == 0:
        return curve, curve, curve
    bands = [record.pdf_band(piece, sigma, level) for piece in pieces]
    return curve, np.concatenate([low for low, _ in bands]), np.concatenate([high for _, high in bands])


def _draw_stems(axes: Axes, record: SpectralDensity, floor: float, height: float, color: str) -> Any:
    """Draw each resolved eigenvalue from the axis to the height of one eigenvalue; None if there are none."""
    values = record.eigenvalues
    if len(values) == 0:
        return None
    stems = axes.stem(values, np.full(len(values), height), bottom=floor, basefmt=" ")
    stems.stemlines.set(color=color, linewidth=0.6, zorder=4)
    stems.markerline.set(color=color, markersize=2.5, markeredgewidth=0, zorder=5)
    return stems


def _mark_one_eigenvalue(axes: Axes, height: float) -> None:
    axes.axhline(height, color=theme.FAINT, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        "one\neigenvalue",
        (1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=theme.SMALL,
        color=theme.QUIET,
        annotation_clip=False,
    )


def _dress_axes(axes: Axes, x: Array, sigma: float, scale: str) -> None:
    """Scales, ticks and labels."""
    axes.set_xlim(x[0], x[-1])
    axes.set_xlabel("eigenvalue λ  (loss per parameter²)")
    axes.set_ylabel("share of eigenvalues per unit of λ")
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if x[0] < 0 < x[-1]:
        axes.axvline(0, color=theme.FAINT, linewidth=0.7, zorder=1)
    if scale == "symlog":
        # asinh: as symlog, but without the kink that the curve would have where the two halves meet
        axes.set_xscale("asinh", linear_width=sigma)
        decades = np.arange(np.ceil(np.log10(sigma)), np.log10(np.abs(x).max()) + 1)
        major, minor = 10.0**decades, np.outer(10.0**decades, np.arange(0.2, 1, 0.1)).ravel()
        minor = minor[minor > sigma]
        axes.xaxis.set_major_locator(FixedLocator(np.concatenate([-major[::-1], [0], major]).tolist()))
        axes.xaxis.set_minor_locator(FixedLocator(np.concatenate([-minor, minor]).tolist()))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(x[0], x[-1])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        formatter = ScalarFormatter(useMathText=True)
        formatter.set_powerlimits((-3, 4))
        axes.xaxis.set_major_formatter(formatter)
        axes.xaxis.get_offset_text().set_fontsize(theme.BODY - 1)


def _caption(
    records: list[SpectralDensity], names: list[str], sigma: float, level: float, default: bool
) -> list[tuple[str, str]]:
    """What a reader needs to judge the curve: (line, colour) pairs."""
    smoothing = f"σ = {number(sigma)}" + (" (1 % of the largest |λ|)" if default else "")
    single = len(records) == 1
    lines: list[tuple[str, str]] = []
    if not single:
        shading = f"shaded: {100 * level:g} % bands  ·  " if level > 0 else ""
        lines.append((f"{smoothing}  ·  {shading}stems: resolved eigenvalues, of the height of one", theme.QUIET))
    for item, name in zip(records, names, strict=True):
        prefix, indent = ("", "") if single else (f"{name}:  ", "     ")
        rows = ["  ·  ".join(row) for row in _facts(item, smoothing if single else None)]
        lines += [((indent if index else prefix) + row, theme.QUIET) for index, row in enumerate(rows)]
        if not item.converged and isfinite(item.error):
            warning = "NOT CONVERGED to the error asked for: more products would change this curve"
            lines.append((indent + warning, theme.WARNING))
    return lines


def _facts(record: SpectralDensity, smoothing: str | None) -> list[list[str]]:
    """Rows of facts: what was found, how, and how much of the mass has no sign."""
    ends = [
        f"λₘₐₓ {'=' if record.ends_resolved[1] else '≥'} {number(record.lambda_max)}",
        f"λₘᵢₙ {'=' if record.ends_resolved[0] else '≤'} {number(record.lambda_min)}",
    ]
    trace = [f"trace = {number(record.trace)} ± {number(record.trace_stderr, 1)}"] if isfinite(record.trace) else []
    if trace and isfinite(record.trace_sampling_stderr):
        trace = [f"{trace[0]} (other data: ± {number(record.trace_sampling_stderr, 1)})"]
    size = [f"n = {count(record.n)}"]
    short = f" and {plural(record.complement_probes, 'short one')}" if record.complement_probes else ""
    cost = [f"{plural(record.products, 'product')}, {plural(record.probes, 'probe')}{short}"]
    error = [f"predicted error {number(record.error, 2)} (asked: {number(record.tol, 2)})"]
    error = error if isfinite(record.error) else []
    zero = record.zero_threshold
    signs = [
        f"λ < −{number(zero, 2)}: {_share(record.negative_mass, record.mass_band(-np.inf, -zero))}",
        f"|λ| ≤ {number(zero, 2)}: {_share(record.near_zero_mass, record.mass_band(-zero, zero))}",
        f"noise floor {number(record.noise_floor, 2)}",
    ]
    if smoothing is None:
        return [ends + size + cost + error, signs]
    return [ends + trace + size, [smoothing, *cost, *error], signs]


def _write_caption(figure: Figure, lines: list[tuple[str, str]]) -> None:
    height = figure.get_size_inches()[1]
    for index, (text, color) in enumerate(reversed(lines)):
        bottom = (0.06 + CAPTION_STEP * index) / height
        figure.text(0.02, bottom, text, fontsize=theme.SMALL, color=color, va="bottom", parse_math=False)


def _share(value: float, band: tuple[float, float]) -> str:
    """A share of the eigenvalues with its 95 % interval; that alone where one heavy node decides the share."""
    interval = f"{100 * band[0]:.3g} to {100 * band[1]:.3g} %"
    if is_vague(band):
        return interval
    return f"{100 * value:.3g} %" + (f" ({interval})" if band[1] > band[0] else "")
