"""Long arrays in parts: what goes in comes out, a few rows at a time."""

from __future__ import annotations

import numpy as np
import pytest

from landscape import store
from landscape.errors import ComputeError, InputError
from landscape.store.rows import TRAJECTORY, read_layout, read_rows, write_rows

PARTS = [
    {"theta": np.arange(6.0).reshape(3, 2), "words": np.array(["a", "b", "ä"])},
    {"theta": np.arange(6.0, 8).reshape(1, 2), "words": np.array(["long word"]), "late/x": np.ones((1, 4), np.float32)},
]


def test_parts_make_one_array(tmp_path):
    path = tmp_path / "a.h5"
    write_rows(path, TRAJECTORY, {"": {"n": 2}, "more": {"b": 1, "a": [2]}}, {"names": np.array(["w"])}, 4, PARTS)
    layout = read_layout(path, {TRAJECTORY})
    assert layout.kind == TRAJECTORY
    assert layout.groups == {"": {"n": 2}, "more": {"b": 1, "a": [2]}}
    shapes = {"names": ((1,), "text"), "theta": ((4, 2), "float64"), "words": ((4,), "text")}
    assert layout.arrays == shapes | {"late/x": ((4, 4), "float32")}
    found = read_rows(path, {TRAJECTORY}, ["theta", "words", "late/x", "unknown"], slice(2, 4))
    assert found.keys() == {"theta", "words", "late/x"}
    assert found["theta"].tolist() == [[4, 5], [6, 7]]
    assert found["words"].tolist() == ["ä", "long word"]
    assert found["late/x"].tolist() == [[0] * 4, [1] * 4]
    with pytest.raises(InputError, match="a recorded run"):
        store.load(path)


def test_a_part_that_fails_leaves_the_earlier_file(tmp_path):
    def broken():
        yield PARTS[0]
        raise OSError("disk full")

    path = tmp_path / "a.h5"
    write_rows(path, TRAJECTORY, {"": {}}, {}, 4, PARTS)
    before = path.read_bytes()
    with pytest.raises(ComputeError, match="the earlier file"):
        write_rows(path, TRAJECTORY, {"": {}}, {}, 4, broken())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]
