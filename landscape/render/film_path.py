"""The layout `path`: from one minimum to the other, with the loss, the eigenvalues, and the place on the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.film_map import fitted
from landscape.render.film_panels import Curve, CurvePanel
from landscape.render.film_path_plane import PlaneOfPath, coordinates_on
from landscape.render.film_path_slice import DensitySlice
from landscape.render.film_schedule import frame_count
from landscape.render.film_spectrum import spread_over
from landscape.render.film_stage import BODY, COUNTER, HEIGHT, LEFT, MARGIN, SETTINGS, SMALL, Stage
from landscape.render.numerals import number
from landscape.render.path_curves import (
    CHORD,
    LOSS,
    PathCurve,
    band_of,
    check_profiles,
    draw_curves,
    eigenvalue_curves,
    end_losses,
    fine_chord,
    key_handles,
    loss_curves,
    mark_barrier,
    metric_of,
)
from landscape.render.path_density import EigenvalueMap, densities_of
from landscape.render.path_image import draw_eigenvalues, operators_of
from landscape.render.series_figure import DENSITY

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathProfile, SpectralDensity, Surface

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
# Pixels of a picture of 1080 lines.
START, GAP, BOTTOM, BETWEEN, HEADING, TITLE = 158.0, 44.0, 164.0, 28.0, 108.0, 55.0
IMAGE, LOW_IMAGE, COLUMN, WIDE_COLUMN = 430.0, 390.0, 560.0, 680.0  # without and with a map beside it
SAID = 236.0  # right of the counter
ROW, NOTE = 36.0, 80.0  # of a fact; of the words above the slice
ROWS = 700  # of the densities
PALE = 0.72  # how far the part of the image that is still to come is mixed with white
LEVEL = 0.95
BELOW_MAP = 5  # facts, where there is no density
SCALE = 1.7  # of lines and markers, beside a printed figure


class PathFilm(Stage):
    """The frames of a video that walks a path between two minima.

    A dot walks on the curve of the loss; under it the image of the densities fills up, and beside that the density of
    the place changes: between two points eigenvalues move by rank (optimal transport). With a surface of the path's
    plane, the dot walks on the map, too.

    Parameters
    ----------
    profile : PathProfile
        With at least two points.
    surface : Surface, optional
        Of ``path.plane()``, or of another plane through both minima where the path is straight.
    densities, eigenvalues
        Not used: the profile has its own.
    frames : int, optional
        How many. Default: one per point, but at least 150 and at most 1800.
    size : (int, int)
        Width and height in pixels, both even.
    metric : str, optional
        One of ``surface.metrics`` on the map instead of the loss.
    log : bool or "auto"
        Of the map, as in :func:`landscape.render.contour`.
    title : str, optional
        Written above.

    Attributes
    ----------
    steps : (frames,) float64
        Where on the path each frame is: the share of its length.

    Raises
    ------
    InputError
        A single point, densities or eigenvalues beside those of the profile, a surface of another network or plane, or
        an impossible size.

    Examples
    --------
    >>> film = PathFilm(landscape.load("interpolate.h5"))  # doctest: +SKIP
    """

    def __init__(
        self,
        profile: PathProfile,
        *,
        surface: Surface | None = None,
        densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
        eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
        frames: int | None = None,
        size: tuple[int, int] = (1920, 1080),
        metric: str | None = None,
        log: bool | str = "auto",
        title: str | None = None,
    ) -> None:
        check_walk(profile, densities, eigenvalues)
        self.profile = profile
        place = None if surface is None else coordinates_on(profile, surface)
        super().__init__(size, spread_over(profile.s, frame_count(len(profile.s), frames)))
        self._found = EigenvalueMap.of([profile], ROWS)
        self._extremes = profile.lambda_min, profile.lambda_max
        self._measured = any(density is not None for density in densities_of(profile))
        with theme.applied(SETTINGS):
            self._build(title, surface, place, metric, log)

    @staticmethod
    def length(profile: PathProfile, *, densities: Any = None, frames: int | None = None) -> int:
        """How many frames a film of this path has."""
        check_walk(profile, densities, None)
        return frame_count(len(profile.s), frames)

    def _build(
        self, title: str | None, surface: Surface | None, place: Array | None, metric: str | None, log: bool | str
    ) -> None:
        """Draw everything that stands still, and prepare what moves."""
        self._right = min(COLUMN if surface is None else WIDE_COLUMN, 0.43 * self.width)
        known = surface is not None or self._measured or len(facts_along(self.profile)) > 1
        if not known:  # nothing but a loss has the whole width
            self._right = -GAP
        self._across = self.width - MARGIN - self._right - START - GAP
        self._high = IMAGE if surface is None else LOW_IMAGE
        self.title(title, START + self._across - LEFT)
        top = HEIGHT - 34 - (TITLE if title else 0)
        bottom = BOTTOM + (self._high + BETWEEN if self._found else 0)
        self._image = self.axes(START, BOTTOM, self._across, self._high) if self._found else None
        self._losses = self._draw_losses(self.axes(START, bottom, self._across, top - HEADING - bottom))
        if self._image is not None and self._found is not None:
            self._draw_image(self._image, self._found)
        self._dress_places(self._losses.axes if self._image is None else self._image)
        self._head(top)
        self._slice = self._draw_slice()
        self._plane, self._facts = self._beside(surface, place, metric, log)
        self._settle()
        parts: list[Any] = [self._losses, *filter(None, (self._slice, self._plane))]
        for part in parts:
            part.prepare()
        self._prepare_image()
        self._keep()

    def _draw_losses(self, axes: Any) -> CurvePanel:
        """The loss over its chord, with the band, the ends and the barrier."""
        record = self.profile
        first, *others = loss_curves(record)
        ends = end_losses(record)
        chord = PathCurve("", fine_chord(record)[1], CHORD, (0, (3, 2)))
        every = np.concatenate([*record.band(LEVEL), ends, chord.values[[0, -1]], *(one.values for one in others)])
        if not (first.values <= 0).any():  # the band alone does not make the scale linear
            every = every[every > 0]
        moving = Curve(record.s, first.values, LOSS, 2.6, dot=("white", LOSS))
        span = float(record.s[0]), float(record.s[-1])
        panel = CurvePanel(axes, [moving], "", span, kind="loss", limits=every, named=False)
        low, high = band_of(record, LEVEL, panel.logarithmic)
        axes.fill_between(record.s, low, high, color=LOSS, alpha=0.2, linewidth=0, zorder=1.5)
        draw_curves(axes, record.s, others, 1.6, 1.9)
        draw_curves(axes, fine_chord(record)[0], [chord], 1.3, 1.8)
        look = {"markerfacecolor": "white", "markeredgecolor": theme.INK, "markeredgewidth": 1.6, "markersize": 7.5}
        axes.plot([0, 1], ends, linestyle="none", marker="D", zorder=6, clip_on=False, **look)
        mark_barrier(axes, record, LEVEL, SMALL, SCALE)
        axes.set_ylabel("loss" + (" (log)" if panel.logarithmic else ""), labelpad=6)
        return panel

    def _draw_image(self, axes: Any, found: EigenvalueMap) -> None:
        axes.set_xlim(*self._losses.axes.get_xlim())
        draw_eigenvalues(axes, self.profile, found, SCALE)
        names = operators_of([self.profile])
        words = f"eigenvalue λ of the {names.pop()}" if len(names) == 1 else "eigenvalue λ"
        axes.set_ylabel(theme.shortened(words, BODY, self._high / 100), labelpad=6, parse_math=False)
        self._key(key_handles(eigenvalue_curves(self.profile), 2.0), 40.0)

    def _dress_places(self, lowest: Any) -> None:
        """Places along the path, the same in both panels; names of the ends and what the axis is below the lowest."""
        low, high = lowest.get_xlim()
        for axes in (self._losses.axes, lowest):
            axes.xaxis.set_major_locator(MaxNLocator(8 if self._across > 700 else 4, steps=[1, 2.5, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axes.xaxis.set_minor_locator(FixedLocator([]))
            axes.tick_params(axis="x", labelbottom=axes is lowest)
            for end in (0, 1) if low < 0 or high > 1 else ():
                axes.axvline(end, color=theme.QUIET, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1.8)
        scale = self._across / (high - low)
        room = min(0.46 * self._across, 0.95 * scale) / 100
        for name, place in zip(self.profile.end_names, (0.0, 1.0), strict=False):
            if low <= place <= high:
                words = theme.shortened(str(name), BODY, room)
                half = 50 * theme.text_width(words, BODY)
                at = float(np.clip((place - low) * scale, min(half, 20), self._across - min(half, 20)))
                at = float(np.clip(at, half, self._across - half)) if half > 20 else at
                self.text(START + at, BOTTOM - 42, words, ha="center", va="top")
        middle = START + self._across / 2
        self.text(middle, BOTTOM - 76, "share of the way along the path", ha="center", va="top")

    def _head(self, top: float) -> None:
        """Places for where the dot is and what the loss is there, and the key of the curves."""
        self._counter = self.text(START, top - 32, "", fontsize=COUNTER, va="baseline", animated=True)
        self._said = self.text(START + SAID, top - 32, "", va="baseline", animated=True)
        handles: list[tuple[Any, str]] = [*key_handles(loss_curves(self.profile), 2.2)]
        if np.isfinite(self.profile.band(LEVEL)[1]).any():
            handles.append((Patch(facecolor=LOSS, alpha=0.25), f"{100 * LEVEL:g} % band"))
        if np.isfinite(self.profile.barrier):
            handles.append((Line2D([], [], color=CHORD, linewidth=1.3, linestyle=(0, (3, 2))), "chord"))
        self._key(handles, top - 58)

    def _key(self, entries: Sequence[tuple[Any, str]], up: float) -> None:
        """A row of lines and their names from a height downwards; as many as fit."""
        texts = (
            fitted([words for _, words in entries], SMALL, len(entries), self._across / 100, 0.62) if entries else []
        )
        legend = self.figure.legend(
            [handle for handle, _ in entries], texts, loc="upper left", ncols=max(len(entries), 1),
            bbox_to_anchor=(START / self.width, up / HEIGHT), borderaxespad=0, borderpad=0, fontsize=SMALL,
            handletextpad=0.5, columnspacing=1.2, handlelength=1.5,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)

    def _draw_slice(self) -> DensitySlice | None:
        """The density of the place beside the image, its colours above it, and room for words."""
        if not self._measured or self._found is None:
            return None
        left = self.width - MARGIN - self._right
        axes = self.axes(left, BOTTOM, self._right, self._high)
        found = DensitySlice(axes, self.profile, self._found)
        strip = self.axes(left, BOTTOM + self._high + 6, self._right, 10)
        strip.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=DENSITY, vmin=0, vmax=1)
        strip.set_axis_off()
        up = BOTTOM + self._high + 22
        look: dict[str, Any] = {"va": "bottom", "animated": True}
        self._range = self.text(left, up + 26, "", **look)
        self._note = self.text(left, up, "", fontsize=SMALL, color=theme.QUIET, **look)
        return found

    def _beside(
        self, surface: Surface | None, place: Array | None, metric: str | None, log: bool | str
    ) -> tuple[PlaneOfPath | None, list[tuple[Any, Array]]]:
        """The map where there is a surface; otherwise, and where there is no density, the numbers of the place."""
        left, top = self.width - MARGIN - self._right, HEIGHT - 34.0
        bottom = BOTTOM + self._high + NOTE if self._slice is not None else BOTTOM
        facts, plane = facts_along(self.profile) if self._right > 0 else [], None
        if surface is not None and place is not None:
            facts = facts[:BELOW_MAP] if self._slice is None else []
            low = bottom + ROW * len(facts)
            plane = PlaneOfPath(self, surface, place, (left, low, self._right, top - low), metric, log)
            top = low
        rows = []
        for index, (name, values) in enumerate(facts[: int((top - bottom) / ROW)]):
            middle = top - ROW * (index + 0.5)
            words = theme.shortened(name, BODY, (self._right - 150) / 100)
            self.text(left, middle, words, va="center", color=theme.QUIET)
            rows.append((self.text(left + self._right, middle, "", va="center", ha="right", animated=True), values))
        return plane, rows

    def _prepare_image(self) -> None:
        """Keep the image in full colour, and make that in the canvas paler; what is done gets its colours back."""
        if self._image is None:
            return
        buffer = np.asarray(self._canvas.buffer_rgba())
        box, height = self._image.bbox, self.size[1]
        # All but the frame of the axes.
        first, last = int(np.floor(height - box.y1)) + 1, int(np.ceil(height - box.y0)) - 1
        left, right = int(np.floor(box.x0)) + 1, int(np.ceil(box.x1)) - 1
        self._place = first, last, left, right
        self._full: Image = buffer[first:last, left:right].copy()
        pale = PALE * 255 + (1 - PALE) * self._full[..., :3].astype(float)
        buffer[first:last, left:right, :3] = pale.round().astype(np.uint8)
        self._now = Line2D([], [], color=theme.INK, linewidth=1.4)
        self._now.set_figure(self.figure)
        self._now.set_transform(IdentityTransform())

    def _move(self, renderer: Any, frame: int) -> None:
        s = float(self.steps[frame])
        at = self.profile.s
        index = min(max(int(np.searchsorted(at, s, side="right")) - 1, 0), len(at) - 1)
        part = (s - at[index]) / (at[index + 1] - at[index]) if index + 1 < len(at) else 0.0
        part = 0.0 if part < 1e-9 else float(part)
        if self._image is not None:
            self._fill(renderer, s)
        self._losses.draw(renderer, s)
        measured = index + (part > 0.5)
        if self._slice is not None:
            self._describe(renderer, self._slice.draw(renderer, index, part), measured)
        if self._plane is not None:
            self._plane.draw(renderer, index, part)
        self._counter.set_text(place_text(s))
        room = (self._across - SAID) / 100
        self._said.set_text(theme.shortened(loss_text(self.profile, s, self._losses.logarithmic), BODY, room))
        for text in (self._counter, self._said):
            text.draw(renderer)
        for text, values in self._facts:
            value = float(values[measured])
            text.set_text(number(value, zeros=True) if np.isfinite(value) else "–")
            text.draw(renderer)

    def _fill(self, renderer: Any, s: float) -> None:
        """The image in full colour up to the dot."""
        first, last, left, right = self._place
        across = float(self._image.transData.transform((s, 0.0))[0])  # type: ignore[union-attr]
        column = int(np.clip(round(across), left, right))
        np.asarray(self._canvas.buffer_rgba())[first:last, left:column] = self._full[:, : column - left]
        self._now.set_data([across, across], [self.size[1] - last, self.size[1] - first])
        self._now.draw(renderer)

    def _describe(self, renderer: Any, known: bool, measured: int) -> None:
        """The ends of the spectrum where it was measured, and how it comes to be known in between."""
        low, high = (float(one[measured]) for one in self._extremes)
        place = place_text(float(self.profile.s[measured]))
        words = f"λ from {number(low, zeros=True)} to {number(high, zeros=True)} at {place}"
        self._range.set_text(theme.shortened(words if known else "no density here", BODY, self._right / 100))
        note = "between measured points, eigenvalues move by rank"
        self._note.set_text(theme.shortened(note, SMALL, self._right / 100))
        for text in (self._range, self._note):
            text.draw(renderer)


def place_text(s: float) -> str:
    """A place on the path as the counter shows it."""
    return f"s = {s:.3f}".replace("-", "−")


def check_walk(profile: PathProfile, densities: Any, eigenvalues: Any) -> None:
    """Refuse what cannot be walked.

    Raises
    ------
    InputError
    """
    check_profiles([profile])
    if len(profile.s) < 2:
        raise InputError("a single point is no path to walk; compute the profile with points=25")
    if densities or eigenvalues:
        raise InputError(
            "the layout path shows the densities and eigenvalues of the profile itself; leave densities= and "
            "eigenvalues= out"
        )


def loss_text(record: PathProfile, s: float, logarithmic: bool) -> str:
    """The loss where the dot is, between two points as straight as it is drawn, and how far above the chord that is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(record.loss) if logarithmic else record.loss
        loss = float(np.interp(s, record.s, values))
        loss = float(np.exp(loss)) if logarithmic else loss
    if not np.isfinite(loss):
        return "loss not finite"
    words = f"loss {number(loss, zeros=True)}"
    chord = float(np.interp(s, *fine_chord(record)))
    if not np.isfinite(chord) or not 0 < s < 1:
        return words
    above = loss - chord
    return f"{words}, {number(abs(above), 2, zeros=True)} {'above' if above >= 0 else 'below'} the chord"


def facts_along(record: PathProfile) -> list[tuple[str, Array]]:
    """What is known at every point, by name, the most important first."""
    p = len(record.s)
    metric = metric_of([record])
    found: list[tuple[str, Array]] = [("measured at s", record.s)]
    if metric is not None:
        found.append((metric, record.metrics[metric]))
    if f"test_{metric}" in record.metrics:
        found.append((f"{metric}, test data", record.metrics[f"test_{metric}"]))
    if "test_loss" in record.metrics:
        found.append(("loss, test data", record.metrics["test_loss"]))
    found += [("largest eigenvalue", record.lambda_max), ("smallest eigenvalue", record.lambda_min)]
    traces = [np.nan if one is None else one.trace for one in densities_of(record)]
    found += [
        ("curvature along the path", record.curvatures), ("trace", np.array(traces)),
        ("gradient norm", record.gradient_norms), ("path within the eigenvectors", record.tangent_overlap),
    ]  # fmt: skip
    for index in range(2):
        if len(record.distances) == p:
            found.append((f"distance from {record.end_names[index]}", record.distances[:, index]))
    return [(name, np.asarray(one, float)) for name, one in found if len(one) == p and np.isfinite(one).any()]
