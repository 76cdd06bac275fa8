"""The ground of a relief: a surface refined, coloured by height and shaded, as a texture seen from above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from landscape.render.heights import Heights

if TYPE_CHECKING:
    from landscape.records import Surface

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Mask = NDArray[np.bool_]
BOX = (1.0, 1.0, 0.55)  # width, depth and height as drawn; the first two follow the plane where it is to scale
STEEPEST = 3.0  # a plane that is longer than so many times its width is not drawn to scale
COARSE = 256  # points along an axis that are enough for light, which is soft
SUN = 42.0  # degrees above the plane
DARKEST, BY_SUN, BY_SKY = 0.66, 0.24, 0.20  # parts of the brightness: colours stay readable as heights
RING = 16  # directions in which a point looks for what hides the sky
REACHES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)  # how far it looks, coarse points


@dataclass(frozen=True)
class Terrain:
    """A surface inside of its box, ready to be looked at.

    Attributes
    ----------
    box : (3,) float64
        Width, depth and height as drawn.
    z : (ty, tx) float32
        Height from 0 to 1 at points that divide the plane evenly, the first and the last of them on its border; in
        holes what surrounds them.
    open : (ty, tx) bool
        Where there is no value.
    texture : (ty, tx, 4) uint8
        Colour; the fourth channel is 255.
    """

    box: Array
    z: Single
    open: Mask
    texture: NDArray[np.uint8]

    def height(self, x: Array, y: Array) -> Array:
        """At points of the plane, 0 to 1 along each axis; NaN in holes and outside."""
        rows, columns = self.z.shape
        across, up = np.asarray(x, float) * (columns - 1), np.asarray(y, float) * (rows - 1)
        with np.errstate(invalid="ignore"):
            inside = (across >= -1e-6) & (across <= columns - 1 + 1e-6) & (up >= -1e-6) & (up <= rows - 1 + 1e-6)
        column = np.clip(np.where(inside, across, 0).astype(int), 0, columns - 2)
        row = np.clip(np.where(inside, up, 0).astype(int), 0, rows - 2)
        right, above = np.clip(across - column, 0, 1), np.clip(up - row, 0, 1)
        low = self.z[row, column] * (1 - right) + self.z[row, column + 1] * right
        high = self.z[row + 1, column] * (1 - right) + self.z[row + 1, column + 1] * right
        nearest = self.open[row + (above > 0.5), column + (right > 0.5)]
        return np.where(inside & ~nearest, low * (1 - above) + high * above, np.nan)


def terrain(surface: Surface, shown: Heights, box: Array, pixels: float, sun: float) -> Terrain:
    """Refine, colour and light a surface.

    Heights between grid points are monotone cubic (Fritsch & Carlson 1980), along x and then along y: smooth, through
    every value, with no peak or valley along the grid lines that was not computed. A cell with a hole at a corner is
    open.

    Parameters
    ----------
    surface : Surface
        At least two points along each axis.
    shown : Heights
        With at least one finite value.
    box : (3,) float64
    pixels : float
        Of the picture per unit of the box: how fine the texture is.
    sun : float
        Where the light comes from, degrees around the vertical axis.
    """
    x, y = ((np.asarray(axis, float) - axis[0]) / np.ptp(axis) for axis in (surface.x, surface.y))
    values = np.clip(shown.position(shown.values), 0, 1)
    missing = ~np.isfinite(values)
    if missing.any():
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        values = values[tuple(nearest)]
    fine = [max(64, min(int(2 * pixels * side), 3072)) for side in box[:2]]
    across, up = np.linspace(0, 1, fine[0]), np.linspace(0, 1, fine[1])
    z = np.clip(_smooth(y, _smooth(x, values, across, 1), up, 0), 0, 1).astype(np.float32)
    opened = _open(x, y, missing, across, up)
    spacing = box[:2] / (np.array(fine) - 1)
    slope_y, slope_x = np.gradient(z * np.float32(box[2]), spacing[1], spacing[0])
    cell = 0.35 * np.array([fine[1] / len(y), fine[0] / len(x)])  # a kink of the slope at a grid line is no feature
    slope_x, slope_y = (gaussian_filter(slope, np.minimum(cell, 30)) for slope in (slope_x, slope_y))
    color = _shaded(z, slope_x, slope_y, box, sun)
    color = color * (np.array(shown.colormap(0.5)[:3], np.float32) if shown.constant else _ramp(z, shown))
    texture = np.full((*z.shape, 4), 255, np.uint8)
    texture[..., :3] = np.clip(255 * color + 0.5, 0, 255)
    return Terrain(box, z, opened, texture)


def box_of(surface: Surface) -> tuple[Array, bool]:
    """Sides of the box, and whether its plane is to scale, as distances along both axes mean the same."""
    ratio = float(np.ptp(surface.y) / np.ptp(surface.x))
    to_scale = "distance" in surface.unit and 1 / STEEPEST <= ratio <= STEEPEST
    box = np.array([1.0, ratio, BOX[2]] if to_scale else BOX)
    box[:2] /= box[:2].max()
    return box, to_scale


def _smooth(knots: Array, values: Array, at: Array, axis: int) -> Array:
    if len(knots) == 2:  # a straight line
        part = at[:, None] if axis == 0 else at[None, :]
        first, last = np.take(values, [0], axis), np.take(values, [1], axis)
        return first + part * (last - first)
    return np.asarray(PchipInterpolator(knots, values, axis=axis)(at))


def _open(x: Array, y: Array, missing: Mask, across: Array, up: Array) -> Mask:
    """Where a cell of the grid has a corner without a value."""
    cells = missing[:-1, :-1] | missing[1:, :-1] | missing[:-1, 1:] | missing[1:, 1:]
    column = np.clip(np.searchsorted(x, across, side="right") - 1, 0, len(x) - 2)
    row = np.clip(np.searchsorted(y, up, side="right") - 1, 0, len(y) - 2)
    return np.asarray(cells[np.ix_(row, column)])


def _ramp(z: Single, shown: Heights) -> Single:
    """The colours of the scale without steps, (ty, tx, 3)."""
    table = shown.colormap(np.linspace(0, 1, 256))[:, :3].astype(np.float32)
    table = np.concatenate([table, table[-1:]])
    place = z * 255
    index = place.astype(np.int32)
    return table[index] + (table[index + 1] - table[index]) * (place - index)[..., None]


def _shaded(z: Single, slope_x: Single, slope_y: Single, box: Array, sun: float) -> Single:
    """How bright each point is, (ty, tx, 1), by the sun and by how much of the sky it sees."""
    around, up = np.deg2rad(sun), np.deg2rad(SUN)
    light = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], np.float32)
    direct = (light[2] - slope_x * light[0] - slope_y * light[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    shade = DARKEST + BY_SUN * np.clip(direct, -0.3, 1) + BY_SKY * _sky(z, box)
    return np.asarray(shade, np.float32)[..., None]


def _sky(z: Single, box: Array) -> Single:
    """Which part of the sky each point sees, from 0 to 1."""
    coarse = zoom(z, [COARSE / size for size in z.shape], order=1) * np.float32(box[2])
    rows, columns = coarse.shape
    margin = max(REACHES)
    padded = np.pad(coarse, margin, mode="edge")
    spacing = np.array([box[0] / (columns - 1), box[1] / (rows - 1)])
    step = float(spacing.max())
    seen = np.zeros_like(coarse)
    for angle in 2 * np.pi * np.arange(RING) / RING:
        horizon = np.zeros_like(coarse)
        for reach in REACHES:
            offset = reach * step * np.array([np.cos(angle), np.sin(angle)]) / spacing
            left, low = (margin + np.clip(np.round(offset), -margin, margin)).astype(int)
            rise = padded[low : low + rows, left : left + columns] - coarse
            np.maximum(horizon, rise / np.float32(reach * step), out=horizon)
        seen += 1 - horizon / np.sqrt(1 + horizon**2)
    scale = [size / coarse_size for size, coarse_size in zip(z.shape, coarse.shape, strict=True)]
    return np.asarray(zoom(gaussian_filter(seen / RING, 1.5), scale, order=1), np.float32)
