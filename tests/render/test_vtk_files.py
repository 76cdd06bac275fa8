"""Files for ParaView: read back by an XML parser that knows nothing of us, and by VTK itself."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from landscape import render
from landscape.errors import InputError
from landscape.render.vtk_files import HIDDEN
from tests.render.legibility import HOSTILE
from tests.render.surface_cases import UNUSUAL, surface, with_holes

KINDS = {"Float64": "<f8", "Int64": "<i8", "Int32": "<i4", "UInt8": "u1"}


def parsed(path):
    """All arrays of a file by name, and the attributes of its piece."""
    root = ElementTree.parse(path).getroot()
    assert (root.tag, root.get("byte_order"), root.get("header_type")) == ("VTKFile", "LittleEndian", "UInt64")
    found = {}
    for array in root.iter("DataArray"):
        content = base64.b64decode(array.text)
        assert int(np.frombuffer(content[:8], "<u8")[0]) == len(content) - 8
        values = np.frombuffer(content[8:], KINDS[array.get("type")])
        components = int(array.get("NumberOfComponents", 1))
        found[array.get("Name")] = values.reshape(-1, components) if components > 1 else values
    texts = {}
    for array in root.iter("Array"):
        codes = bytes(int(code) for code in array.text.split())
        texts[array.get("Name")] = [word.decode() for word in codes.split(b"\0")[:-1]]
    return found, texts, next(root.iter("Piece")).attrib


@pytest.mark.parametrize("seed", range(3))
def test_a_parser_finds_every_value(tmp_path, seed):
    record = surface(11, 7, runs=2, checkpoints=9, seed=seed)
    grid, runs = (parsed(path) for path in render.export(record, tmp_path / "surface.vts", log=False))
    arrays, texts, piece = grid
    assert piece["Extent"] == "0 10 0 6 0 0"
    assert np.array_equal(arrays["loss"], record.loss.ravel())  # x runs fastest
    assert np.array_equal(arrays["accuracy"], record.metrics["accuracy"].ravel())
    x, y = np.meshgrid(record.x, record.y)
    assert np.array_equal(arrays["Points"][:, :2], np.column_stack([x.ravel(), y.ravel()]))
    slope = np.polyfit(record.loss.ravel(), arrays["Points"][:, 2], 1)
    assert np.allclose(np.polyval(slope, record.loss.ravel()), arrays["Points"][:, 2])  # linear in the loss
    assert texts["axes"] == ["pca_1", "pca_2"]
    assert texts["unit"] == [record.unit]
    assert "linear" in texts["height"][0]
    arrays, texts, piece = runs
    for name in ("step", "loss", "projected_loss", "distance"):
        assert np.array_equal(arrays[name], getattr(record, f"path_{name}"))
    assert np.array_equal(arrays["Points"][:, :2], record.path_coordinates)
    assert (
        np.allclose(arrays["Points"][:, 2], np.polyval(slope, record.path_projected_loss), atol=1e-9)
        or (record.path_projected_loss < record.loss.min()).any()
    )
    assert (arrays["connectivity"].tolist(), arrays["offsets"].tolist()) == (list(range(18)), [9, 18])
    assert texts["run_names"] == ["SGD", "ProxSGD"]


def test_heights():
    record = surface(11, 7, runs=1, checkpoints=5)
    from landscape.render.vtk_files import exported

    def z(**options):
        content = exported(record, **options)[".vts"].decode()
        text = ElementTree.fromstring(content).find(".//Points/DataArray").text
        return np.frombuffer(base64.b64decode(text)[8:], "<f8").reshape(-1, 3)[:, 2]

    assert np.array_equal(z(height="value"), record.loss.ravel())
    assert not z(height="flat").any()
    assert np.array_equal(z(height="value", metric="accuracy"), record.metrics["accuracy"].ravel())
    logarithmic = z(log=True)
    assert np.ptp(np.polyfit(np.log(record.loss.ravel()), logarithmic, 1, full=True)[1]) < 1e-9
    assert 0.3 * np.ptp(record.x) < np.ptp(logarithmic) <= 0.55 * np.ptp(record.x)


def test_holes_are_hidden_points_that_keep_their_values(tmp_path):
    record, holes = with_holes(runs=1)
    found, *_ = parsed(render.export(record, tmp_path / "holes.vts")[0])
    assert np.array_equal(found["vtkGhostType"] == HIDDEN, holes.ravel())
    assert np.array_equal(found["loss"], record.loss.ravel(), equal_nan=True)
    assert np.isfinite(found["Points"]).all()


def test_vtk_reads_them(tmp_path):
    pyvista = pytest.importorskip("pyvista", reason="pip install '.[vtk]'")
    record, holes = with_holes(runs=2, checkpoints=9)
    paths = render.export(record, tmp_path / "surface.vts")
    grid, runs = (pyvista.read(path) for path in paths)
    assert grid.dimensions == (31, 25, 1)
    assert np.array_equal(grid["loss"], record.loss.ravel(), equal_nan=True)
    assert np.array_equal(grid["accuracy"], record.metrics["accuracy"].ravel())
    corners = holes[:-1, :-1] | holes[1:, :-1] | holes[:-1, 1:] | holes[1:, 1:]
    assert grid.extract_surface(algorithm=None).n_cells == (~corners).sum()  # the others are not drawn
    assert [runs.get_cell(index).n_points for index in range(runs.n_cells)] == [9, 9]
    assert np.array_equal(runs["step"], record.path_step)
    assert np.array_equal(runs["distance"], record.path_distance)
    assert list(runs.field_data["run_names"]) == ["SGD", "ProxSGD"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_words(tmp_path, kind):
    words = HOSTILE[kind]
    record = surface(5, 4, runs=1, checkpoints=1)
    record = replace(
        record, axes=np.array([words, "b"], object), path_names=np.array([words], object), unit=words,
        metrics={words: 2 * record.loss},
    )  # fmt: skip
    for path in render.export(record, tmp_path / "surface.vts"):
        _, texts, piece = parsed(path)
        assert texts["axes"] == [words.replace("\0", ""), "b"]
    assert (piece["NumberOfVerts"], piece["NumberOfLines"]) == ("1", "0")
    found = [values for name, values in parsed(tmp_path / "surface.vts")[0].items() if name not in ("loss", "Points")]
    assert any(np.array_equal(values, 2 * record.loss.ravel()) for values in found)


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_surfaces(tmp_path, name):
    record = UNUSUAL[name]()
    found, *_ = parsed(render.export(record, tmp_path / "surface.vts")[0])
    assert found["loss"].size == record.loss.size
    assert np.isfinite(found["Points"]).all()


def test_same_input_same_bytes(tmp_path):
    first, second = (
        [path.read_bytes() for path in render.export(surface(), tmp_path / f"{name}.vts")] for name in ("a", "b")
    )
    assert first == second


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.vts"):
        render.export(surface(), tmp_path / "surface.vtk")
    with pytest.raises(InputError, match="height is 'tall'; choose one of drawn, value, flat"):
        render.export(surface(), tmp_path / "surface.vts", height="tall")
    with pytest.raises(InputError, match="no metric 'error'"):
        render.export(surface(), tmp_path / "surface.vts", metric="error")
    with pytest.raises(InputError, match="cannot write"):
        render.export(surface(), tmp_path / "missing" / "surface.vts")
    assert list(tmp_path.iterdir()) == []
