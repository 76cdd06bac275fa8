"""A surface and its runs as files for ParaView and everything else that reads VTK's XML formats."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.render.formats import write_whole
from landscape.render.heights import Heights, heights
from landscape.render.plane_map import check_surface

if TYPE_CHECKING:
    from landscape.records import Surface

Array = NDArray[np.float64]
SURFACE_SUFFIX, RUNS_SUFFIX = ".vts", ".vtp"
HEIGHTS = ("drawn", "value", "flat")
TALL = 0.55  # height of the relief relative to the longer side of the plane, as in landscape.render.relief
HIDDEN = 2  # vtkDataSetAttributes::HIDDENPOINT: readers leave out the cells around it
TYPES = {"f8": "Float64", "i8": "Int64", "i4": "Int32", "u1": "UInt8"}
# Characters that XML 1.0 has no place for, not even escaped.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
RUN_ARRAYS = {
    "step": "path_step", "loss": "path_loss", "projected_loss": "path_projected_loss",
    "recorded_loss": "path_recorded_loss", "distance": "path_distance", "cosine": "path_cosine",
    "stability_threshold": "path_threshold",
}  # fmt: skip


def export(
    surface: Surface,
    path: str | os.PathLike[str],
    *,
    metric: str | None = None,
    log: bool | str = "auto",
    height: str = "drawn",
) -> tuple[Path, ...]:
    """Write a surface, and beside it its runs, for ParaView: VTK XML, .vts and .vtp.

    The surface is a structured grid with the loss, all metrics and the coordinates' meaning; holes are hidden points
    whose values stay as they are. The runs are lines at the height of their projected loss, with step, true, projected
    and recorded loss and the distance from the plane at every checkpoint. Nothing beyond this package is needed.

    Parameters
    ----------
    surface : Surface
    path : path
        Ends in .vts; runs go into the file of the same name that ends in .vtp.
    metric : str, optional
        One of ``surface.metrics`` as the height instead of the loss.
    log : bool or "auto"
        Whether drawn heights are logarithmic; as in :func:`contour`.
    height : str
        "drawn": as in :func:`relief`, so that a file looks right when it is opened; "value": the loss itself; "flat".

    Returns
    -------
    tuple of Path
        What was written: the surface and, if it has runs, these.

    Raises
    ------
    InputError
        Another suffix, an unknown metric or height, a damaged surface, or a folder that cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from landscape.records import Surface
    >>> bowl = Surface(x=np.array([-1.0, 0, 1]), y=np.array([0.0, 1]), loss=np.array([[1.0, 0, 1], [2, 1, 2]]))
    >>> [path.name for path in export(bowl, "bowl.vts")]
    ['bowl.vts']
    >>> Path("bowl.vts").unlink()
    """
    target = Path(path)
    if target.suffix.lower() != SURFACE_SUFFIX:
        raise InputError(f"cannot export to {target}: the name must end in {SURFACE_SUFFIX}; runs go beside it as .vtp")
    contents = exported(surface, metric=metric, log=log, height=height)
    written = []
    for suffix, content in contents.items():
        file = target if suffix == SURFACE_SUFFIX else target.with_suffix(suffix)
        write_whole("file", file, content)
        written.append(file)
    return tuple(written)


def exported(
    surface: Surface, *, metric: str | None = None, log: bool | str = "auto", height: str = "drawn"
) -> dict[str, bytes]:
    """The content of the files that :func:`export` writes, by suffix.

    Raises
    ------
    InputError
        As :func:`export`, but for the names of files.
    """
    check_surface(surface)
    if height not in HEIGHTS:
        raise InputError(f"height is {height!r}; choose one of {', '.join(HEIGHTS)}")
    shown = heights(surface, metric, log)
    scale = _Scale(surface, shown, height)
    files = {SURFACE_SUFFIX: _structured_grid(surface, shown, scale)}
    if len(surface.path_names):
        files[RUNS_SUFFIX] = _poly_lines(surface, shown, scale)
    return files


class _Scale:
    """From values to heights in the unit of the axes."""

    def __init__(self, surface: Surface, shown: Heights, height: str) -> None:
        self.shown, self.height = shown, height
        self.tall = TALL * max(float(np.ptp(surface.x)), float(np.ptp(surface.y))) or TALL
        logarithmic = "logarithmic" if shown.logarithmic else "linear"
        self.text = {
            "drawn": f"{shown.name}, {logarithmic}, scaled to {TALL} of the longer side of the plane",
            "value": f"{shown.name}",
            "flat": "0",
        }[height]

    def __call__(self, values: Array) -> Array:
        """Heights; those of values that are not finite are on the floor."""
        if self.height == "flat" or len(self.shown.finite) == 0:
            return np.zeros(np.shape(values))
        if self.height == "value":
            return np.where(np.isfinite(values), values, self.shown.finite.min())
        with np.errstate(invalid="ignore"):
            place = np.clip(self.shown.position(np.where(np.isfinite(values), values, np.nan)), 0, 1)
        return self.tall * np.nan_to_num(place)


def _structured_grid(surface: Surface, shown: Heights, scale: _Scale) -> bytes:
    extent = f"0 {len(surface.x) - 1} 0 {len(surface.y) - 1} 0 0"
    x, y = np.meshgrid(surface.x, surface.y)
    arrays: dict[str, NDArray[Any]] = {"loss": surface.loss}
    for name in ("evaluated", "loss_error", "model"):  # where the surface knows of them
        found = np.asarray(getattr(surface, name, np.zeros(0)))
        if found.shape == surface.loss.shape:
            arrays[name] = found.astype(np.uint8) if found.dtype == bool else found
    arrays |= {_free(str(name), arrays): values for name, values in surface.metrics.items()}
    holes = ~np.isfinite(shown.values)
    if holes.any():
        arrays["vtkGhostType"] = np.where(holes, HIDDEN, 0).astype(np.uint8)
    points = np.stack([x, y, scale(shown.values)], axis=-1)
    body = [
        _point_data(arrays, "loss" if shown.name == "loss" else shown.name),
        f"<Points>{_data_array('Points', points.reshape(-1, 3))}</Points>",
    ]
    return _file("StructuredGrid", f' WholeExtent="{extent}"', f' Extent="{extent}"', body, _facts(surface, scale))


def _poly_lines(surface: Surface, shown: Heights, scale: _Scale) -> bytes:
    if shown.name == "loss":
        z = scale(surface.path_projected_loss)
    else:
        z = scale(_on_grid(surface, shown, surface.path_coordinates))
    order = np.argsort(surface.path_run, kind="stable")
    points = np.column_stack([surface.path_coordinates, z])[order]
    arrays: dict[str, NDArray[Any]] = {"run": np.asarray(surface.path_run, np.int32)[order]}
    for name, field in RUN_ARRAYS.items():
        found = np.asarray(getattr(surface, field, np.zeros(0)))
        if len(found) == len(order):
            arrays[name] = found[order]
    counts = np.bincount(surface.path_run, minlength=len(surface.path_names))
    ends = np.cumsum(counts)
    single, several = np.flatnonzero(counts == 1), np.flatnonzero(counts > 1)

    def cells(kind: str, chosen: NDArray[np.int64]) -> str:
        members = [np.arange(ends[run] - counts[run], ends[run]) for run in chosen]
        connectivity = np.concatenate([*members, np.zeros(0)]).astype(np.int64)
        offsets = np.cumsum(counts[chosen]).astype(np.int64)
        return f"<{kind}>{_data_array('connectivity', connectivity)}{_data_array('offsets', offsets)}</{kind}>"

    numbers = (
        f' NumberOfPoints="{len(points)}" NumberOfVerts="{len(single)}" NumberOfLines="{len(several)}"'
        ' NumberOfStrips="0" NumberOfPolys="0"'
    )
    body = [
        _point_data(arrays, "step"),
        f"<CellData>{_data_array('run', np.concatenate([single, several]).astype(np.int32))}</CellData>",
        f"<Points>{_data_array('Points', points)}</Points>",
        cells("Verts", single),
        cells("Lines", several),
    ]
    facts = _facts(surface, scale) | {"run_names": [str(name) for name in surface.path_names]}
    return _file("PolyData", "", numbers, body, facts)


def _on_grid(surface: Surface, shown: Heights, coordinates: Array) -> Array:
    """Values at points of the plane, linear between those of the grid; NaN outside and beside holes."""
    found = shown.values
    for axis, knots, at in ((1, surface.x, coordinates[:, 0]), (0, surface.y, coordinates[:, 1])):
        if len(knots) == 1:
            found = np.repeat(found, len(at), axis) if axis == 1 else found[0]
            continue
        low = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
        part = (at - knots[low]) / (knots[low + 1] - knots[low])
        part = np.where((part < 0) | (part > 1), np.nan, part)
        if axis == 1:
            found = found[:, low] * (1 - part) + found[:, low + 1] * part
        else:
            column = np.arange(len(at))
            found = found[low, column] * (1 - part) + found[low + 1, column] * part
    return found


def _facts(surface: Surface, scale: _Scale) -> dict[str, Sequence[str]]:
    """What the numbers mean, in words."""
    return {
        "axes": [str(name) for name in surface.axes],
        "unit": [surface.unit],
        "plane": [surface.plane],
        "height": [scale.text],
        "theta_sha256": [surface.theta_sha256],
    }


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name that no other array has."""
    while name in taken or name == "vtkGhostType":
        name += "_"
    return name


def _point_data(arrays: Mapping[str, NDArray[Any]], active: str) -> str:
    parts = "".join(_data_array(name, values.reshape(-1)) for name, values in arrays.items())
    return f"<PointData Scalars={_quoted(active)}>{parts}</PointData>"


def _data_array(name: str, values: NDArray[Any]) -> str:
    """An array of numbers as VTK stores it in line: its length in bytes and its bytes, little-endian, in base 64."""
    values = np.ascontiguousarray(values)
    if values.dtype.str[1:] not in TYPES:
        values = values.astype(np.float64)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    content = base64.b64encode(np.uint64(little.nbytes).astype("<u8").tobytes() + little.tobytes()).decode()
    components = f' NumberOfComponents="{values.shape[1]}"' if values.ndim == 2 else ""
    kind = TYPES[values.dtype.str[1:]]
    return f'<DataArray type="{kind}" Name={_quoted(name)}{components} format="binary">{content}</DataArray>'


def _strings(name: str, words: Sequence[str]) -> str:
    """An array of texts: the codes of their UTF-8 bytes, a zero after each."""
    codes = " ".join(str(code) for word in words for code in (*word.replace("\0", "").encode(errors="replace"), 0))
    return f'<Array type="String" Name={_quoted(name)} NumberOfTuples="{len(words)}" format="ascii">{codes}</Array>'


def _file(kind: str, whole: str, piece: str, body: Sequence[str], facts: Mapping[str, Sequence[str]]) -> bytes:
    fields = "".join(_strings(name, words) for name, words in facts.items())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        f"<{kind}{whole}>",
        f"<FieldData>{fields}</FieldData>",
        f"<Piece{piece}>",
        *body,
        "</Piece>",
        f"</{kind}>",
        "</VTKFile>",
        "",
    ]
    return "\n".join(lines).encode()


def _quoted(name: str) -> str:
    return quoteattr(FORBIDDEN.sub("\ufffd", name) or " ", {"\n": " ", "\r": " ", "\t": " "})
