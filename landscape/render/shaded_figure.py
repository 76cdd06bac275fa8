"""The relief as VTK draws it: light and shadow on the ground, runs as tubes that hills hide; needs the extra `vtk`."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render import theme
from landscape.render.formats import check_suffix
from landscape.render.heights import heights
from landscape.render.plane_map import check_surface
from landscape.render.relief_page import FINER, ReliefPage
from landscape.render.relief_runs import RunOnRelief
from landscape.render.runs import run_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.records import Surface
    from landscape.render.horizon import View

Array = NDArray[np.float64]
TUBE = 0.0072  # radius of a tube, units of the box
FINE = 500  # points of the ground along an axis
INSTALL = "pip install 'landscape-spectra[vtk]', or pip install '.[vtk]' in a clone of the repository"
# Draws eight pixels, in a process of its own: without an OpenGL library VTK does not raise an exception, it crashes.
PROBE = """
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow
import vtkmodules.vtkRenderingOpenGL2
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.AddRenderer(vtkRenderer())
window.Render()
print("drawn by", window.GetClassName())
"""


@theme.themed
def shaded(
    surface: Surface,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    log: bool | str = "auto",
    azimuth: float | None = None,
    elevation: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a surface in three dimensions by VTK: glossy ground, runs as tubes, true occlusion; no display is needed.

    The page around it and the view are those of :func:`relief`, which needs no VTK and is quicker; runs are at the
    height of the surface, the loss of their projections. What a hill hides is not to be seen.

    Parameters
    ----------
    surface : Surface
        At least two points along each axis.
    path : path, optional
        Where to write the figure: .png (250 dots per inch), .svg or .pdf.
    metric, log, azimuth, elevation, title
        As :func:`relief`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        As :func:`relief`; and if PyVista is not installed, or VTK finds no OpenGL library to draw with.

    Examples
    --------
    >>> figure = shaded(landscape.load("surface.h5"), "shaded.png")  # doctest: +SKIP
    """
    check_surface(surface)
    shown = heights(surface, metric, log)
    if path is not None:
        check_suffix(path)
    check_vtk()
    page = ReliefPage(surface, shown, azimuth, elevation, title, hidden=False)
    picture, middle = _painted(page)
    page.lay(picture, middle)
    figure = page.finish(on_ground=False)
    if path is not None:
        theme.save_figure(figure, path)
    return figure


def check_vtk() -> None:
    """Refuse to draw where that cannot work.

    Raises
    ------
    InputError
        PyVista is not installed, or VTK cannot draw here.
    """
    if find_spec("pyvista") is None:
        raise InputError(
            f"shaded pictures are drawn by PyVista, which is not installed: {INSTALL}; landscape.render.relief draws "
            "the same view without it"
        )
    words = _cannot_draw()
    if words is not None:
        raise InputError(
            f"VTK cannot draw here ({words}). Without a display it needs an OpenGL library that draws into memory: "
            "Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri, or libosmesa6; conda: conda install -c conda-forge "
            "mesalib; on a cluster: its module with mesa. landscape.render.relief draws the same view without VTK"
        )


@functools.cache
def _cannot_draw() -> str | None:
    """Why VTK cannot draw in this environment; None if it can."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, errors="replace", timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a trial did not end: {type(error).__name__}"
    if done.returncode == 0 and "drawn by" in done.stdout:
        return None
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"a trial ended with {how}"


def _painted(page: ReliefPage) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The ground with its runs as VTK draws it, and where the middle of the floor is in the picture."""
    pyvista: Any = import_module("pyvista")
    view, scale = page.view, FINER * page.view.scale
    rows, columns = page.horizon.picture.shape[:2]
    middle = page.horizon.middle
    with _quiet():
        plotter: Any = pyvista.Plotter(off_screen=True, window_size=(columns, rows), lighting="none")
        try:
            _add_ground(plotter, pyvista, page)
            _add_levels(plotter, pyvista, page)
            _add_runs(plotter, pyvista, page)
            _look(plotter, pyvista, view, scale, (columns / 2 - middle[0], middle[1] - rows / 2))
            plotter.enable_ssao(radius=0.12, bias=0.004, kernel_size=64, blur=True)
            found = np.asarray(plotter.screenshot(None, transparent_background=True, return_img=True))
        finally:
            plotter.close()
    covered = found[..., 3:].astype(np.uint16)
    multiplied = (found[..., :3] * covered + 127) // 255
    painted = np.concatenate([multiplied, covered], axis=-1).astype(np.uint8)
    painted[page.horizon.hatched] = page.horizon.picture[page.horizon.hatched]  # not what is seen through the ground
    return painted, middle


def _add_ground(plotter: Any, pyvista: Any, page: ReliefPage) -> None:
    """The surface in its colours, and the floor of its holes left open."""
    ground = page.terrain
    rows, columns = (
        np.unique(np.round(np.linspace(0, size - 1, min(FINE, size))).astype(int)) for size in ground.z.shape
    )
    place = np.ix_(rows, columns)
    sizes = np.array(ground.z.shape) - 1
    x, y = np.meshgrid(columns / sizes[1], rows / sizes[0])
    points = (np.stack([x, y, ground.z[place]], axis=-1) - [0.5, 0.5, 0]) * ground.box
    mesh = pyvista.StructuredGrid(
        *(points[..., axis].T[..., None].astype(np.float32) for axis in range(3))
    )  # x fastest
    position = np.full(x.shape, 0.5) if page.shown.constant else ground.z[place]
    mesh["color"] = (255 * page.shown.colormap(position)[..., :3]).astype(np.uint8).reshape(-1, 3)
    opened = ground.open[place]
    if opened.any():
        hidden = opened[:-1, :-1] | opened[1:, :-1] | opened[:-1, 1:] | opened[1:, 1:]
        mesh.hide_cells(np.flatnonzero(hidden.ravel()), inplace=True)
    plotter.add_mesh(
        mesh, scalars="color", rgb=True, smooth_shading=True, split_sharp_edges=False, show_scalar_bar=False,
        ambient=0.34, diffuse=0.72, specular=0.06, specular_power=12,
    )  # fmt: skip


def _add_levels(plotter: Any, pyvista: Any, page: ReliefPage) -> None:
    """Thin lines of equal height, just above the ground."""
    for lines, color, width in page.scene.levels:
        points = (lines.points - [0.5, 0.5, 0]) * page.terrain.box + [0, 0, 0.15 * TUBE]
        starts = np.append(np.flatnonzero(lines.starts), len(points))
        cells = [np.append(high - low, np.arange(low, high)) for low, high in pairwise(starts)]
        mesh = pyvista.PolyData(points.astype(np.float32), lines=np.concatenate([*cells, np.zeros(0)]).astype(np.int64))
        plotter.add_mesh(mesh, color=color[:3], opacity=color[3], line_width=FINER * 1.5 * width, lighting=False)


def _add_runs(plotter: Any, pyvista: Any, page: ReliefPage) -> None:
    """Runs as tubes, coloured by time, on a light seam."""
    for index, run in enumerate(page.surface.paths):
        style = run_style(index)
        line = RunOnRelief(page.ground, run, style)
        inside = np.isfinite(line.points[:, 2])
        edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int))).reshape(-1, 2)
        for low, high in edges:
            points = (line.points[low:high] - [0.5, 0.5, 0]) * page.terrain.box + [0, 0, 0.5 * TUBE]
            distinct = np.concatenate([[True], (np.diff(points, axis=0) != 0).any(axis=1)])
            points, times = points[distinct], line.times[low:high][distinct]
            if len(points) < 2:
                continue
            way = pyvista.lines_from_points(points.astype(np.float32))
            way["color"] = (255 * style.ramp(times / max(line.times[-1], 1e-9))[:, :3]).astype(np.uint8)
            tube = way.tube(radius=TUBE, n_sides=24, capping=True)
            plotter.add_mesh(
                tube, scalars="color", rgb=True, smooth_shading=True, show_scalar_bar=False,
                ambient=0.45, diffuse=0.62, specular=0.35, specular_power=30,
            )  # fmt: skip


def _look(plotter: Any, pyvista: Any, view: View, scale: float, beside: tuple[float, float]) -> None:
    """The camera of a view, without perspective, and its lights.

    Parameters
    ----------
    beside : (float, float)
        How many pixels the middle of the picture is to the right of the middle of the floor, and above it.
    """
    height, distance = view.lift
    right, towards = np.array([*view.right, 0.0]), np.array([*(-view.away * height), distance])
    up = np.array([*(view.away * distance), height])
    focus = (beside[0] * right + beside[1] * up) / scale
    plotter.camera.position, plotter.camera.focal_point = tuple(focus + 5 * towards), tuple(focus)
    plotter.camera.up = tuple(up)
    plotter.enable_parallel_projection()
    plotter.camera.parallel_scale = plotter.window_size[1] / 2 / scale
    # A sun from behind the viewer's left shoulder, and a weak light from the right that opens the shadows.
    for side, above, strength in ((-0.8, 0.9, 0.85), (0.9, 0.3, 0.25)):
        place = focus + 6 * (towards + side * right + above * up)
        plotter.add_light(
            pyvista.Light(position=tuple(place), focal_point=tuple(focus), intensity=strength, positional=False)
        )


class _quiet:  # noqa: N801
    """VTK says on stderr which windows it has tried before it found one that works; not inside."""

    def __enter__(self) -> None:
        self._logger: Any = import_module("vtkmodules.vtkCommonCore").vtkLogger
        self._logger.SetStderrVerbosity(self._logger.VERBOSITY_ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.SetStderrVerbosity(self._logger.VERBOSITY_INFO)  # what it is from the start
