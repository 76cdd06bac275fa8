"""Result files: what goes in comes out, and everything that can be wrong with one is said."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landscape import records, store
from landscape.errors import ComputeError, InputError
from landscape.records import SpectralDensity

finite_or_not = st.floats(allow_nan=True, allow_infinity=True)
text = st.text(st.characters(codec="utf-8"), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite_or_not | text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(text, children, max_size=3),
    max_leaves=8,
)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda key: key != "json_keys"
)


@dataclasses.dataclass(frozen=True)
class Anything:
    """A kind that only these tests know."""

    array: np.ndarray
    words: np.ndarray
    flag: bool
    number: int
    value: float
    name: str
    provenance: dict
    optional: float | None = None


@pytest.fixture(autouse=True)
def anything(monkeypatch):
    monkeypatch.setitem(records.KINDS, "anything", Anything)


def density(**changes):
    nodes = np.array([-0.1, 0.0, 2.0])
    provenance = {"configuration": {"seed": 0, "tol": 0.05}, "seed": 0, "versions": {"torch": "2.13.0"}}
    return dataclasses.replace(
        SpectralDensity(nodes, np.array([0.1, 0.8, 0.1]), 10, products=90, provenance=provenance), **changes
    )


def equal(first, second):
    for field in dataclasses.fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, np.ndarray):
            assert one.shape == other.shape
            assert one.dtype.kind == other.dtype.kind
            assert one.tobytes() == other.tobytes() or (one == other).all()  # text may come back narrower
        else:
            assert type(one) is type(other), field.name
            first_text, second_text = (json.dumps(value, sort_keys=True) for value in (one, other))
            assert first_text == second_text, field.name  # as text: NaN equals NaN, -0.0 differs from 0.0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from(["f8", "f4", "i8", "u1", "?", "c16", ">f8"]), hnp.array_shapes(min_dims=0, min_side=0)
    ),
    words=st.lists(text.filter(lambda word: "\0" not in word), max_size=4),
    flag=st.booleans(),
    number=st.integers(),
    value=finite_or_not,
    name=text,
    provenance=st.dictionaries(keys, plain, max_size=4),
    optional=st.none() | finite_or_not,
)
def test_what_goes_in_comes_out(tmp_path, array, words, **values):
    record = Anything(array=array, words=np.array(words, dtype=str), **values)
    path = tmp_path / "anything.h5"
    store.save(record, path)
    equal(record, store.load(path))
    assert sorted(os.listdir(tmp_path)) == ["anything.h5"]


def test_same_record_gives_same_bytes(tmp_path):
    first, second = (store.save(density(), tmp_path / name).read_bytes() for name in ("a.h5", "b.h5"))
    assert first == second


def test_dictionaries_keep_their_order(tmp_path):
    layers = [
        f"layer{number}.weight" for number in (10, 2, 33, 1, 7, 21, 4, 5, 6, 8, 9)
    ]  # more than HDF5 stores densely
    provenance = {name: [3, number] if number % 2 else number for number, name in enumerate(layers)}
    path = store.save(density(provenance=provenance), tmp_path / "a.h5")
    assert list(store.load(path).provenance) == layers
    pairs = records.EigenPairs(
        values=np.ones(1), vectors=np.ones((1, 1)), residuals=np.zeros(1), converged=np.array([True]), tol=0.1,
        scale=1.0, n=1, buffers={name: np.zeros(1) for name in layers},
    )  # fmt: skip
    assert list(store.load(store.save(pairs, tmp_path / "b.h5")).buffers) == layers


def test_attributes_for_other_programs(tmp_path):
    big = {"notes": "x" * 100_000}
    path = store.save(
        density(provenance={"configuration": {"seed": 3}, "grid": {"threads": 2}, "device": "cpu", **big}),
        tmp_path / "a.h5",
    )
    with h5py.File(path) as file:
        assert file.attrs["kind"] == "spectral_density"
        assert file.attrs["schema_version"] == 1
        assert file.attrs["products"] == 90
        assert (file.attrs["seed"], file.attrs["threads"], file.attrs["device"]) == (3, 2, "cpu")
        assert file.attrs["configuration_sha256"] == hashlib.sha256(b'{"seed": 3}').hexdigest()
        assert file["provenance"].attrs["configuration"] == '{"seed": 3}'
        assert file["provenance"].attrs["device"] == "cpu"
        assert file["nodes"].attrs["unit"] == "loss per parameter²"


def test_describe(tmp_path):
    described = store.describe(store.save(density(), tmp_path / "a.h5"))
    assert described["kind"] == "spectral_density"
    assert described["values"]["n"] == 10
    assert described["arrays"]["nodes"]["shape"] == (3,)
    assert described["groups"]["provenance"]["versions"] == {"torch": "2.13.0"}


def test_every_truncation_and_flipped_bit_is_noticed(tmp_path):
    path = store.save(density(), tmp_path / "a.h5")
    whole, broken = path.read_bytes(), tmp_path / "broken.h5"
    draw = random.Random(0)
    for length in [0, 4, 8, 100, len(whole) - 1, *draw.sample(range(len(whole)), 20)]:
        broken.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"is (empty|not an HDF5 file|truncated or damaged)"):
            store.load(broken)
    for position in draw.sample(range(len(whole)), 300):
        changed = bytearray(whole)
        changed[position] ^= 1 << draw.randrange(8)
        broken.write_bytes(changed)
        with contextlib.suppress(InputError):  # or a byte that the format does not use: the same record
            equal(density(), store.load(broken))


def test_a_heap_in_which_the_library_would_go_round_and_round_is_refused(tmp_path):
    path = store.save(density(), tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    here, length = content.index(b"GCOL") + 16, 0
    while content[here : here + 2] != b"\0\0":  # as far as the free space at its end
        length = int.from_bytes(content[here + 8 : here + 16], "little")
        here += 16 + -(-length // 8) * 8
    content[here + 8 : here + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        store.load(path)


def test_missing_foreign_and_newer(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*none\.h5"):
        store.load(tmp_path / "none.h5")
    with pytest.raises(InputError, match="holds no half-done run"):
        store.describe(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="not an HDF5 file"):
        store.load(tmp_path / "picture.png")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(InputError, match="HDF5 file of another program"):
        store.load(tmp_path / "foreign.h5")
    path = store.save(density(), tmp_path / "new.h5")
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 7
    with pytest.raises(InputError, match=r"newer landscape \(file schema 7; .* up to 1\); upgrade with: pip install"):
        store.load(path)
    path = store.save(density(), tmp_path / "kind.h5")
    with h5py.File(path, "a") as file:
        file.attrs["kind"] = "hologram"
    with pytest.raises(InputError, match="holds a 'hologram'"):
        store.load(path)


def test_what_only_a_pickle_could_hold_is_refused(tmp_path):
    for change in ({"provenance": {"model": object()}}, {"nodes": np.array([object()] * 3)}):
        with pytest.raises(TypeError, match="cannot be stored"):
            store.save(density(**change), tmp_path / "a.h5")
    with pytest.raises(InputError, match="cannot save a dict"):
        store.save({}, tmp_path / "a.h5")
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = store.save(density(), tmp_path / "a.h5")
    with pytest.raises(InputError, match="exists"):
        store.save(density(n=11), path, overwrite=False)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ComputeError, match=r"No space left on device.*earlier file.*untouched"):
        store.save(density(n=11), path)
    assert store.load(path).n == 10
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_link_stays_a_link(tmp_path):
    store.save(density(), tmp_path / "a.h5")
    (tmp_path / "link.h5").symlink_to("a.h5")
    store.save(density(n=11), tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert store.load(tmp_path / "a.h5").n == 11


def test_the_folder_is_tried_before_the_work(tmp_path):
    store.check_writable(tmp_path / "new" / "deep" / "a.h5")
    assert os.listdir(tmp_path / "new" / "deep") == []
    (tmp_path / "file").write_text("")
    for path, message in [(tmp_path / "file" / "a.h5", "cannot write into the folder"), (tmp_path, "it is a folder")]:
        with pytest.raises(InputError, match=message):
            store.check_writable(path)
