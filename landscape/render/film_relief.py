"""The landscape of a flyover: the relief from the side of the frame, and the runs that grow on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.camera import directed
from landscape.render.film_map import BRIGHTEST, fitted
from landscape.render.film_stage import BODY, HEIGHT, SMALL
from landscape.render.horizon import Horizon, View
from landscape.render.numerals import number
from landscape.render.plane_map import axis_text, hole_entry
from landscape.render.relief_runs import HIDDEN, Ground, RunOnRelief
from landscape.render.relief_scene import LIFT, Label, Scene, Shape
from landscape.render.runs import RunStyle, marker_patch, run_style, start_marker
from landscape.render.terrain import box_of, terrain

if TYPE_CHECKING:
    from landscape.records import PathOnSurface, Surface
    from landscape.render.film_stage import Stage
    from landscape.render.heights import Heights

Array = NDArray[np.float64]
SIDE, ABOVE, BELOW, CAPTIONS = 100.0, 44.0, 92.0, 104.0  # room for numbers and words, pixels of a picture of 1080 lines
PALE = 0.45  # of a marker behind a hill
FADING = 4.0  # degrees around a quarter turn within which words go from one side of the box to the other
LOOKED_AT = 48  # checkpoints of a run, when the way of the viewer is chosen


class ReliefOfRuns:
    """A relief in a part of a film's picture, with its box and what is written there.

    Parameters
    ----------
    stage : Stage
        The film.
    surface : Surface
    shown : Heights
        With at least one finite value.
    left, right, top : float
        The part, in pixels of a picture of 1080 lines; it reaches down to the lower border.
    steps : (frames,) float64
        What each frame shows.

    Attributes
    ----------
    azimuths : (frames,) float64
        From where each frame is seen, degrees around the vertical axis.
    elevation : float
        Degrees above the plane.
    """

    def __init__(
        self, stage: Stage, surface: Surface, shown: Heights, left: float, right: float, top: float, steps: Array
    ) -> None:
        if len(shown.finite) == 0:
            raise InputError(f"no point of the grid has a finite {shown.name}, so there is no relief to fly over")
        self.stage, self.surface = stage, surface
        box, to_scale = box_of(surface)
        rough = terrain(surface, shown, box, 100, 0.0)
        ground = Ground(surface, rough)
        runs = []
        for run in surface.paths:
            some = np.unique(np.linspace(0, len(run.steps) - 1, LOOKED_AT).astype(int))
            runs.append((run.steps[some].astype(float), ground(run.coordinates[some])))
        self.azimuths, self.elevation = directed(rough, runs, steps)
        self.view = self._placed(box, (left + SIDE, right - SIDE), (top - ABOVE, CAPTIONS + BELOW))
        sun = float(self.azimuths[len(self.azimuths) // 2]) + 70
        self.terrain = terrain(surface, shown, box, self.view.scale, sun)
        self.ground = Ground(surface, self.terrain)
        self.horizon = Horizon(self.terrain, self.view.scale, self.elevation)
        self.scene = Scene(self.terrain, surface, shown, self.elevation, FADING)
        self._words: dict[tuple[str, bool], tuple[Text, Array]] = {}
        self._captions(shown, to_scale, left, right)

    def _placed(self, box: Array, across: tuple[float, float], upwards: tuple[float, float]) -> View:
        """As large as the box fits into a part of the picture from all sides that the film shows, without a zoom."""
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
        seen = [View(float(azimuth), self.elevation, 1.0).project(corners, box) for azimuth in self.azimuths[::3]]
        low, high = np.min(seen, axis=(0, 1)), np.max(seen, axis=(0, 1))
        unit = self.stage.size[1] / HEIGHT
        room = unit * np.array([across[1] - across[0], upwards[0] - upwards[1]])
        scale = float((room / (high - low)).min())
        middle = np.array(
            [unit * (across[0] + across[1]) / 2, self.stage.size[1] - unit * (upwards[0] + upwards[1]) / 2]
        )
        column, row = np.round(middle - scale * (low + high) / 2)
        return View(float(self.azimuths[0]), self.elevation, scale, float(column), float(row))

    def prepare(self) -> None:
        """Find out where the runs lie."""
        self.trails = [Trail(self, run, run_style(index)) for index, run in enumerate(self.surface.paths)]

    def look(self, frame: int) -> None:
        """Go to where a frame is seen from."""
        self.view = View(
            float(self.azimuths[frame]) % 360, self.elevation, self.view.scale, self.view.column, self.view.row
        )

    def draw(self, renderer: Any, step: float) -> None:
        """The relief and the runs at a step."""
        for shape in self.scene.behind(self.view):
            self._draw(renderer, shape)
        self.horizon.draw(self.view.azimuth)
        self._lay(np.asarray(renderer.buffer_rgba()))
        for part in (self.scene.on_ground, self.scene.front):
            for shape in part(self.view, self.horizon):
                self._draw(renderer, shape)
        for shape in self.scene.frame(self.view):
            self._draw(renderer, shape)
        for trail in self.trails:
            for shape in trail.shapes(step):
                self._draw(renderer, shape)
        for trail in self.trails:
            trail.draw_markers(renderer)
        for label in self.scene.labels(self.view):
            self._write(renderer, label)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row where the ground above a point of the plane appears; whole numbers are middles of pixels."""
        column, row = self.view.project(self.ground(np.array([[x, y]])), self.terrain.box)[0]
        return float(column) - 0.5, float(row) - 0.5

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """First column, first row, last column, last row of the relief from any side."""
        left, top = self.view.column - self.horizon.middle[0], self.view.row - self.horizon.middle[1]
        rows, columns = self.horizon.picture.shape[:2]
        return round(left), round(top), round(left) + columns - 1, round(top) + rows - 1

    def _lay(self, page: NDArray[np.uint8]) -> None:
        """Lay the picture of the terrain over the page."""
        left, top, right, bottom = self.corners
        rows, columns = slice(max(top, 0), min(bottom + 1, page.shape[0])), slice(max(left, 0), right + 1)
        picture = self.horizon.picture[rows.start - top : rows.stop - top, columns.start - left :]
        covered, part = picture.view(np.uint32)[..., 0], page[rows, columns]
        opaque = picture[..., 3] == 255
        row, column = np.nonzero((covered != 0) & ~opaque)
        over, beneath = picture[row, column].astype(np.uint16), part[row, column, :3].astype(np.uint16)
        np.copyto(part.view(np.uint32)[..., 0], covered, where=opaque)
        part[row, column, :3] = np.minimum(over[:, :3] + beneath * (255 - over[:, 3:]) // 255, 255)

    def _draw(self, renderer: Any, shape: Shape) -> None:
        if not np.size(shape.path.vertices):
            return
        context = renderer.new_gc()
        flipped = Affine2D().scale(1, -1).translate(0, self.stage.size[1])
        if shape.width == 0:
            context.set_linewidth(0)
            renderer.draw_path(context, shape.path, flipped, shape.color)
        else:
            dots = self.stage.dots_per_inch / 72
            context.set_foreground(shape.color, isRGBA=True)
            context.set_alpha(shape.color[3])
            context.set_linewidth(shape.width * dots)
            context.set_capstyle("round" if shape.dashes is None else "butt")
            context.set_joinstyle("round")
            if shape.dashes is not None:
                context.set_dashes(0, [dots * part for part in shape.dashes])
            renderer.draw_path(context, shape.path, flipped)
        context.restore()

    def _write(self, renderer: Any, label: Label) -> None:
        if (label.text, label.name) not in self._words:
            size = BODY if label.name else SMALL
            across = 2 * SIDE if label.name else SIDE
            word = Text(0, 0, theme.shortened(label.text, size, across / 100), fontsize=size, ha="center", va="center")
            word.set_parse_math(False)
            # As outlines: letters of pixels would go in whole steps; with a rim where they may reach the ground.
            rim = [Stroke(linewidth=3, foreground="white")] if label.name else []
            word.set_path_effects([*rim, Normal()])
            word.set_figure(self.stage.figure)
            word.set_transform(IdentityTransform())
            extent = word.get_window_extent(renderer)
            self._words[label.text, label.name] = word, np.array([extent.width, extent.height])
        word, room = self._words[label.text, label.name]
        place = label.place + label.away * (np.abs(label.away) @ room) / 2
        word.set_position((place[0], self.stage.size[1] - place[1]))
        word.set_alpha(label.strength)
        word.draw(renderer)

    def _captions(self, shown: Heights, to_scale: bool, left: float, right: float) -> None:
        surface, stage = self.surface, self.stage
        across = (right - left - 40) / 100
        for index, line in enumerate((axis_text(surface, 0), axis_text(surface, 1))):
            stage.text(left, 74 - 26 * index, theme.shortened(line, SMALL, across), fontsize=SMALL, va="bottom")
        start = Line2D([], [], **{**start_marker(run_style(0), 11), "markeredgecolor": theme.INK})
        behind = Line2D([], [], color=theme.QUIET, linewidth=1.6, linestyle=(0, HIDDEN))
        entries: list[tuple[Any, str]] = [(start, "start of a run"), (behind, "behind a hill"), *hole_entry(shown)]
        remarks = ["axes not to the same scale"] if "distance" in surface.unit and not to_scale else []
        if shown.constant:
            remarks.append(f"{shown.name} {number(float(shown.finite[0]), 6)} everywhere")
        entries += [(Line2D([], [], linestyle="none"), remark) for remark in remarks]
        texts = fitted([text for _, text in entries], SMALL, len(entries), across, 0.6)
        legend = stage.figure.legend(
            [handle for handle, _ in entries], texts, loc="lower left", ncols=len(entries),
            bbox_to_anchor=(left / stage.width, 16 / HEIGHT), borderaxespad=0, borderpad=0, fontsize=SMALL,
            handletextpad=0.6, columnspacing=1.6,
        )  # fmt: skip
        for entry in legend.get_texts():
            entry.set_parse_math(False)


class Trail:
    """One run on the relief, with its markers.

    Parameters
    ----------
    relief : ReliefOfRuns
    run : PathOnSurface
    style : RunStyle
    """

    def __init__(self, relief: ReliefOfRuns, run: PathOnSurface, style: RunStyle) -> None:
        self.relief = relief
        self.run = RunOnRelief(relief.ground, run, style, brightest=BRIGHTEST)
        self.start = Line2D([0], [0], **start_marker(style, 11))
        self.marker = marker_patch(style, 0.3 * relief.stage.dots_per_inch)
        for artist in (self.start, self.marker):
            artist.set_figure(relief.stage.figure)
            artist.set_transform(IdentityTransform())
        self._ends: list[tuple[Any, Array, float]] = []

    def shapes(self, step: float) -> list[Shape]:
        """The way so far."""
        relief = self.relief
        found, ends = self.run.shapes(relief.view, relief.horizon, LIFT * relief.stage.size[1] / HEIGHT, step)
        self._ends = [
            (artist, place, 1.0 if seen else PALE)
            for artist, (place, seen) in zip((self.start, self.marker), ends, strict=True)
        ]
        return found

    def draw_markers(self, renderer: Any) -> None:
        """Its start and its head; pale where they are hidden."""
        for artist, place, strength in self._ends:
            if np.isfinite(place).all():
                artist.set_alpha(strength)
                artist.set_transform(Affine2D().translate(place[0], self.relief.stage.size[1] - place[1]))
                artist.draw(renderer)
