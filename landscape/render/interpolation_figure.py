"""A path between two minima: the loss, and under it the eigenvalue density at the same places; several side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.displaying import is_spread
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.numerals import count, number, plural
from landscape.render.path_curves import (
    LOSS,
    PathCurve,
    check_profiles,
    draw_curves,
    draw_loss,
    eigenvalue_curves,
    facts_of,
    is_logarithmic,
    key_handles,
    loss_values,
    mark_barrier,
    metric_curves,
    metric_of,
    overlap_curves,
    path_names,
    span_of,
)
from landscape.render.path_density import EigenvalueMap, densities_of
from landscape.render.path_image import draw_eigenvalues, operators_of
from landscape.render.value_axis import value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from landscape.records import PathProfile

Array = NDArray[np.float64]
MOST = 4  # paths side by side
ROWS = 1000  # of the density image
LEFT, RIGHT, GAP, BETWEEN, BELOW, LINE = 0.74, 1.18, 0.16, 0.14, 0.7, 0.145  # inches
LOSSES, DENSITIES, LINES, SMALL_PANEL = 1.7, 2.5, 1.5, 0.62
BOLD = 1.12  # width of bold letters
SPREAD = 20  # a gradient's norm is drawn on a logarithmic scale beyond this factor
STATISTICS = {
    "eval": "batch norm: statistics between those of the ends",
    "recompute": "batch norm: statistics of the data at each point",
    "batch": "batch norm: statistics of each micro-batch",
}


@theme.themed
def interpolation(
    record: PathProfile | Sequence[PathProfile],
    path: str | os.PathLike[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    log: bool | str = "auto",
    sigma: float | None = None,
    level: float = 0.95,
    title: str | None = None,
) -> Figure:
    """Draw the loss along a path between two minima, and under it the eigenvalue density at the same places.

    The barrier is the arrow from the chord to the loss. The density image is white where there is no eigenvalue; each
    of its columns is one measured density, smoothed with 1 % of its own largest |λ|, and reaches half-way to the next.
    What was not measured has no panel.

    Parameters
    ----------
    record : PathProfile or sequence of them
        Several, such as before and after alignment, stand side by side with the same scales: at most 4.
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    names : sequence of str, optional
        What the paths are called. Default: their kind.
    log : bool or "auto"
        Logarithmic losses; "auto" takes them where all are positive and span more than a factor of 20.
    sigma : float, optional
        Kernel width of all densities, loss per parameter². Default: 1 % of the largest |λ| at each point.
    level : float
        Of the band and of the interval of the barrier.
    title : str, optional
        Written above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing to draw, too many paths, paths of different networks, a wrong number of names, an unknown suffix, or
        values without a logarithm.

    Examples
    --------
    >>> figure = interpolation([plain, aligned], "two_seeds.svg", names=["plain", "aligned"])  # doctest: +SKIP
    """
    records = list(record) if isinstance(record, Sequence) else [record]
    check_profiles(records)
    if len(records) > MOST:
        raise InputError(f"{len(records)} paths do not fit side by side; draw at most {MOST} in a figure")
    if sigma is not None and not (sigma > 0 and isfinite(sigma)):
        raise InputError(f"sigma is {sigma!r}; give a positive width in units of the eigenvalues, or none for 1 %")
    if path is not None:
        check_suffix(path)
    headings = path_names(records, names) if len(records) > 1 or names is not None else []
    page = _Page.of(records, headings, title, _facts(records, sigma, level), sigma)
    _draw_losses(page, records, level, is_logarithmic(records, log))
    if page.eigenvalues is not None:
        _draw_eigenvalues(page, records, page.eigenvalues)
    for row, panel in enumerate(page.panels):
        _draw_small(page, records, panel, row)
    _dress_places(page, records)
    if path is not None:
        theme.save_figure(page.figure, path)
    return page.figure


class _Small(NamedTuple):
    """A small panel: what it shows, and the curves of each path."""

    label: str
    curves: list[list[PathCurve]]
    kind: str


@dataclass(frozen=True)
class _Page:
    """A figure with axes in columns, one for each path."""

    figure: Figure
    losses: list[Axes]
    images: list[Axes]
    small: list[list[Axes]]
    eigenvalues: EigenvalueMap | None
    panels: list[_Small]
    width: float
    span: tuple[float, float]

    @classmethod
    def of(
        cls,
        records: Sequence[PathProfile],
        headings: list[str],
        title: str | None,
        facts: list[str],
        sigma: float | None,
    ) -> _Page:
        found = EigenvalueMap.of(records, ROWS, sigma)
        panels = _small_panels(records, found is not None)
        lines = theme.joined(facts, theme.SMALL, theme.WIDTH - 0.25)
        middle = DENSITIES if any(len(record.lengths) for record in records) else LINES
        heights = [LOSSES, *([middle] if found else []), *([SMALL_PANEL] * len(panels))]
        bottom = BELOW + LINE * len(lines)
        above = 0.12 + (0.24 if headings else 0) + (0.26 if title else 0)
        total = bottom + sum(heights) + BETWEEN * (len(heights) - 1) + above
        columns = len(records)
        width = (theme.WIDTH - LEFT - RIGHT - GAP * (columns - 1)) / columns
        figure, first = theme.new_figure(total)
        first.remove()
        rows: list[list[Axes]] = []
        up = total - above
        for height in heights:
            up -= height
            lefts = [LEFT + column * (width + GAP) for column in range(columns)]
            rows.append([
                figure.add_axes((left / theme.WIDTH, up / total, width / theme.WIDTH, height / total)) for left in lefts
            ])  # fmt: skip
            up -= BETWEEN
        for column, words in enumerate(headings):
            place = (LEFT + column * (width + GAP)) / theme.WIDTH, 1 - (above - 0.2) / total
            figure.text(*place, theme.shortened(words, theme.BODY, width), parse_math=False)
        if title:
            words = theme.shortened(title, theme.BODY + 1, theme.WIDTH - LEFT - 0.1)
            place = LEFT / theme.WIDTH, 1 - 0.08 / total
            figure.text(*place, words, fontsize=theme.BODY + 1, va="top", parse_math=False)
        for index, words in enumerate(reversed(lines)):
            place = 0.02, (0.06 + LINE * index) / total
            figure.text(*place, words, fontsize=theme.SMALL, color=theme.QUIET, va="bottom", parse_math=False)
        images = rows.pop(1) if found else []
        return cls(figure, rows[0], images, rows[1:], found, panels, width, span_of(records))

    @property
    def lowest(self) -> list[Axes]:
        """The axes that the places are written under."""
        return self.small[-1] if self.small else self.images or self.losses

    def name_rows(self, axes: Sequence[Axes], words: str, size: float = theme.BODY) -> None:
        """What the rows of some axes show: it is written beside the first alone."""
        axes[0].set_ylabel(words, fontsize=size, parse_math=False)
        for one in axes[1:]:
            one.tick_params(axis="y", labelleft=False)

    def key(self, axes: Axes, entries: Sequence[tuple[Any, str]], top: float = 1.0) -> None:
        """The key of a row, right of it; what is in several columns is said once."""
        said: dict[tuple[str, str], Any] = {}
        for handle, words in entries:
            words = theme.shortened(words, theme.SMALL, RIGHT - 0.42)
            color = handle.get_color() if hasattr(handle, "get_color") else ""
            said.setdefault((words, str(color)), handle)
        legend = axes.legend(
            list(said.values()), [words for words, _ in said], loc="upper left", bbox_to_anchor=(1.0, top),
            fontsize=theme.SMALL,
            borderaxespad=0, borderpad=0, handlelength=1.5, handletextpad=0.5, labelspacing=0.35,
            bbox_transform=axes.transAxes + _moved(axes, 0.1),
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def _moved(axes: Axes, inches: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ScaledTranslation(inches, 0, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]


def _small_panels(records: Sequence[PathProfile], mapped: bool) -> list[_Small]:
    """Curvature unless it is with the eigenvalues, accuracy, norm of the gradient, overlaps, as far as known."""
    metric = metric_of(records)
    named = len({tuple(map(str, record.end_names)) for record in records}) == 1
    norms = [
        [PathCurve("", np.where(np.isfinite(one.gradient_norms), one.gradient_norms, np.nan), LOSS)]
        if len(one.gradient_norms) == len(one.s)
        else []
        for one in records
    ]
    curvatures = [
        [one._replace(name="", dashes="-") for one in eigenvalue_curves(record) if one.name == "curvature"]
        for record in records
    ]
    found = [
        *([] if mapped else [_Small("curvature\nalong path", curvatures, "curvature")]),
        _Small(metric or "", [metric_curves(one, metric) for one in records] if metric else [], "metric"),
        _Small("gradient\nnorm", norms, "norm"),
        _Small("overlap of\neigenvectors", [overlap_curves(one, named) for one in records], "share"),
    ]
    return [panel for panel in found if any(np.isfinite(c.values).any() for own in panel.curves for c in own)]


def _draw_losses(page: _Page, records: Sequence[PathProfile], level: float, logarithmic: bool) -> None:
    every = np.concatenate([loss_values(record, level, logarithmic) for record in records])
    for axes, record in zip(page.losses, records, strict=True):
        value_axis(axes, every, logarithmic, 7)
        axes.set_xlim(*page.span)
        draw_loss(axes, record, level, logarithmic)
        mark_barrier(axes, record, level, theme.BODY - 1 if len(records) < 3 else theme.SMALL)
    top = max(axes.get_ylim()[1] for axes in page.losses)
    for axes in page.losses:
        axes.set_ylim(top=top)
    page.name_rows(page.losses, "loss (logarithmic)" if logarithmic else "loss")
    handles = [pair for axes in page.losses for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    page.key(page.losses[-1], handles)


def _draw_eigenvalues(page: _Page, records: Sequence[PathProfile], found: EigenvalueMap) -> None:
    image = None
    for axes, record in zip(page.images, records, strict=True):
        axes.set_xlim(*page.span)
        image = draw_eigenvalues(axes, record, found) or image
    names = operators_of(records)
    where = f" of the {names.pop()}" if len(names) == 1 else ""
    page.name_rows(page.images, theme.shortened(f"eigenvalue λ{where}", theme.BODY, DENSITIES if where else LINES))
    lines = [pair for record in records for pair in key_handles(eigenvalue_curves(record), 1.2)]
    if len({words for _, words in lines}) > 3:  # the paths have different numbers of eigenvalues
        lines = [(line, "largest λ" if words.endswith("largest λ") else words) for line, words in lines]
    bar_share = 0.62
    if image is not None:
        _draw_bar(page, image, bar_share)
    if lines:
        page.key(page.images[-1], lines, 1.0 if image is None else 1 - bar_share - 0.19)


def _draw_bar(page: _Page, image: Any, share: float) -> None:
    """What the colours mean."""
    axes, total = page.images[-1], float(page.figure.get_size_inches()[1])
    box = axes.get_position()
    height = share * DENSITIES / total
    top = box.y1 - 0.3 / total
    bar = page.figure.add_axes((box.x1 + 0.12 / theme.WIDTH, top - height, 0.1 / theme.WIDTH, height))
    page.figure.colorbar(image, cax=bar)
    bar.yaxis.set_major_locator(LogLocator(numticks=7))
    bar.yaxis.set_minor_locator(FixedLocator([]))
    bar.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
    bar.tick_params(labelsize=theme.SMALL, length=2)
    bar.set_title("eigenvalues\nwithin σ", fontsize=theme.SMALL, loc="left", pad=5)


def _draw_small(page: _Page, records: Sequence[PathProfile], panel: _Small, row: int) -> None:
    every = np.concatenate([np.zeros(0), *(curve.values for own in panel.curves for curve in own)])
    finite = every[np.isfinite(every)]
    for axes, record, curves in zip(page.small[row], records, panel.curves, strict=True):
        axes.set_xlim(*page.span)
        if panel.kind == "share":
            axes.set_ylim(-0.06, 1.06)
            axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        else:
            value_axis(axes, finite, panel.kind == "norm" and is_spread(finite, SPREAD), 3)
        axes.tick_params(axis="y", labelsize=theme.SMALL)
        if panel.kind == "curvature":
            axes.axhline(0, color=theme.FAINT, linewidth=0.6, zorder=1.5)
        draw_curves(axes, record.s, curves, 1.1)
    words = "\n".join(theme.shortened(line, theme.SMALL, SMALL_PANEL + BETWEEN) for line in panel.label.split("\n"))
    page.name_rows(page.small[row], words, theme.SMALL)
    entries = key_handles([curve for own in panel.curves for curve in own], 1.2)
    if entries:
        page.key(page.small[row][-1], entries)


def _dress_places(page: _Page, records: Sequence[PathProfile]) -> None:
    """The places along the path under the lowest panels, with the names of the ends; lines at the ends in all."""
    low, high = page.span
    beyond = low < 0 or high > 1
    for column, record in enumerate(records):
        own = [row[column] for row in (page.losses, page.images, *page.small) if row]
        for axes in own:
            axes.xaxis.set_major_locator(MaxNLocator(8 if page.width > 2.5 else 4, steps=[1, 2.5, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axes.tick_params(axis="x", labelbottom=axes is page.lowest[column])
            for end in (0, 1) if beyond else ():
                axes.axvline(end, color=theme.QUIET, linewidth=0.6, linestyle=(0, (4, 2)), zorder=1.8)
        _name_ends(page, page.lowest[column], record)
    words = "share of the way along the path"
    total = float(page.figure.get_size_inches()[1])
    middle = (LEFT + (theme.WIDTH - RIGHT - LEFT) / 2) / theme.WIDTH
    bottom = page.lowest[0].get_position().y0 - 0.43 / total
    page.figure.text(middle, bottom, words, ha="center", va="top", fontsize=theme.BODY)


def _name_ends(page: _Page, axes: Axes, record: PathProfile) -> None:
    """The names of the minima under their places, those at the border inwards; none where an end is not shown."""
    low, high = page.span
    scale = page.width / (high - low)
    room = min(0.46 * page.width, 0.95 * scale)
    for name, place in zip(record.end_names, (0.0, 1.0), strict=False):
        if not low <= place <= high:
            continue
        words = theme.shortened(str(name), theme.BODY - 1, room / BOLD)
        half = BOLD * theme.text_width(words, theme.BODY - 1) / 2
        at = (place - low) * scale
        alone = len(page.losses) == 1 and half < 0.08
        moved = 0.0 if alone else float(np.clip(at, half, page.width - half)) - at
        axes.annotate(
            words, (place, 0), xycoords=("data", "axes fraction"), xytext=(72 * moved, -17),
            textcoords="offset points", ha="center", va="top", fontsize=theme.BODY - 1, fontweight="bold",
            parse_math=False, annotation_clip=False,
        )  # fmt: skip


def _facts(records: Sequence[PathProfile], sigma: float | None, level: float) -> list[str]:
    """What a reader needs to judge the curves."""
    found = facts_of(records[0]) if len(records) == 1 else []
    counts = sorted({len(record.s) for record in records})
    found.append(
        plural(counts[0], "point") if len(counts) == 1 else f"{count(counts[0])} to {plural(counts[-1], 'point')}"
    )
    if records[0].n:
        found.append(f"n = {count(records[0].n)}")
    parts = sorted({len(record.samples) for record in records if len(record.samples) > 1})
    if parts:
        what = records[0].provenance.get("parts", "parts of the data")
        found.append(
            f"band and ±: {100 * level:.3g} % for the mean over all data of this kind, from {parts[-1]} {what}"
        )
    modes = list(dict.fromkeys(STATISTICS[one.batchnorm] for one in records if one.batchnorm in STATISTICS))
    found += modes[:1] if len(modes) == 1 else []
    if any(len(record.curvatures) == len(record.s) for record in records):
        found.append("curvature: of the loss along the path, uᵀHu")
    densities = [density for record in records for density in densities_of(record) if density is not None]
    if densities:
        found.append(f"σ = {number(sigma)}" if sigma else "σ = 1 % of the largest |λ| at each point")
        errors = [one.error for one in densities if isfinite(one.error)]
        if errors:
            missed = sum(1 for one in densities if isfinite(one.error) and not one.converged)
            found.append(f"predicted error of the densities at most {number(max(errors), 2)}")
            if missed:
                found.append(f"{count(missed)} of them not as accurate as asked for")
    holes = sum(record.holes for record in records)
    if holes:
        found.append(f"{plural(holes, 'point')} without a finite loss")
    missing = sum(1 for record in records for one in densities_of(record) if one is None)
    if missing:
        found.append(f"hatched: {plural(missing, 'point')} without a density")
    return found
