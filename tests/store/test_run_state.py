"""Half-done runs: what was appended is there after any kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from landscape import store
from landscape.errors import ComputeError, InputError
from landscape.store import RunState

CONFIGURATION = {"seed": 0, "operator": {"name": "hessian", "tol": 0.05}}


def filled(folder, number=3):
    state = RunState(folder, CONFIGURATION)
    for index in range(number):
        state.append({"alpha": np.full(index, index / 3)}, {"products": index, "pair": (index, float("nan"))})
    return state


def check(state, number):
    found = list(state.segments())
    assert len(found) == len(state) == number
    for index, (arrays, attributes) in enumerate(found):
        assert arrays["alpha"].tolist() == [index / 3] * index
        assert attributes["products"] == index
        assert repr(attributes["pair"]) == f"[{index}, nan]"


def test_segments_come_back_in_order(tmp_path):
    folder = tmp_path / "deep" / "run.state"
    assert len(RunState(folder, CONFIGURATION)) == 0
    assert not folder.exists()  # nothing before the first append
    filled(folder)
    check(RunState(folder, CONFIGURATION), 3)
    described = store.describe(folder)
    assert described["kind"] == "run_state"
    assert described["segments"] == 3
    assert described["last"]["products"] == 2
    assert described["configuration"] == CONFIGURATION


@pytest.mark.parametrize("damage", [0, 20, -1, "flip"])
def test_an_unreadable_last_segment_is_dropped(tmp_path, damage):
    filled(tmp_path)
    last = sorted(tmp_path.glob("segment-*"))[-1]
    whole = last.read_bytes()
    where = whole.index(np.full(2, 2 / 3).tobytes())
    last.write_bytes(whole[:where] + bytes(1) + whole[where + 1 :] if damage == "flip" else whole[:damage])
    state = RunState(tmp_path, CONFIGURATION)
    check(state, 2)
    state.append({"alpha": np.full(2, 2 / 3)}, {"products": 2, "pair": (2, float("nan"))})
    check(RunState(tmp_path, CONFIGURATION), 3)


def test_what_follows_an_unreadable_segment_is_dropped_too(tmp_path):
    filled(tmp_path, 4)
    (tmp_path / "segment-000001.h5").write_bytes(b"")
    state = RunState(tmp_path, CONFIGURATION)
    check(state, 1)
    state.append({"alpha": np.full(1, 1 / 3)}, {"products": 1, "pair": (1, float("nan"))})
    check(RunState(tmp_path, CONFIGURATION), 2)


def test_another_configuration_is_refused(tmp_path):
    filled(tmp_path)
    with pytest.raises(InputError) as caught:
        RunState(tmp_path, {"seed": 1, "operator": {"name": "hessian", "tol": 0.05}, "probes": 10})
    assert "  probes: None there, 10 now\n  seed: 0 there, 1 now\n" in str(caught.value)
    assert "tol" not in str(caught.value)


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for refuse in (lambda: RunState(tmp_path, CONFIGURATION), lambda: store.remove_run_state(tmp_path)):
        with pytest.raises(InputError, match=r"no half-done run.*thesis\.tex"):
            refuse()
    with pytest.raises(InputError, match="is a file"):
        RunState(tmp_path / "thesis.tex", CONFIGURATION)
    assert (tmp_path / "thesis.tex").exists()


def test_a_damaged_header_says_what_to_do(tmp_path):
    filled(tmp_path)
    (tmp_path / "configuration.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be read.*remove the folder"):
        RunState(tmp_path, CONFIGURATION)


def test_clear_and_remove(tmp_path):
    state = filled(tmp_path / "a.state")
    state.clear()
    assert not (tmp_path / "a.state").exists()
    state.append({"alpha": np.zeros(0)}, {"products": 0, "pair": (0, float("nan"))})
    check(state, 1)
    store.remove_run_state(tmp_path / "a.state")
    store.remove_run_state(tmp_path / "a.state")
    assert not (tmp_path / "a.state").exists()


def test_parts_have_their_own_segments(tmp_path):
    state = RunState(tmp_path / "a.state", CONFIGURATION)
    for name, number in (("probe-0", 2), ("probe-1", 1)):
        part = state.child(name)
        for index in range(number):
            part.append({}, {"products": index + 1})
    again = RunState(tmp_path / "a.state", CONFIGURATION)
    assert [attributes["products"] for _, attributes in again.child("probe-0").segments()] == [1, 2]
    assert len(again.child("probe-2")) == 0
    described = store.describe(tmp_path / "a.state")
    assert described["segments"] == 3
    assert described["parts"]["probe-1"]["last"] == {"products": 1}
    with pytest.raises(InputError, match="seed: 0 there, 1 now"):
        RunState(tmp_path / "a.state", {**CONFIGURATION, "seed": 1})
    again.clear()
    assert not (tmp_path / "a.state").exists()


def test_two_writers_are_noticed(tmp_path):
    first = filled(tmp_path, 1)
    second = RunState(tmp_path, CONFIGURATION)
    assert len(second) == 1
    first.append({}, {"products": 1})
    with pytest.raises(ComputeError, match="another process writes"):
        second.append({}, {"products": 1})


WRITER = """
import sys, numpy as np
from landscape.store import RunState
state = RunState(sys.argv[1], {"seed": 0})
print("ready", flush=True)
while True:
    index = len(state)
    state.append({"basis": np.full(200_000, float(index))}, {"index": index})
    print(index, flush=True)
"""


def test_kill_while_appending(tmp_path, faults):
    promised = -1
    for round_ in range(4 * faults):
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        for _ in range(1 + round_):
            promised = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)  # somewhere in the next append
        rest, _ = process.communicate(timeout=60)
        promised = max([promised, *map(int, rest.split())])
        found = list(RunState(tmp_path, {"seed": 0}).segments())
        assert promised < len(found) <= promised + 2
        for index, (arrays, attributes) in enumerate(found):
            assert attributes == {"index": index}
            assert (arrays["basis"] == index).all()
    RunState(tmp_path, {"seed": 0}).append({}, {"index": len(found)})
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_one_segment_takes_the_place_of_all(tmp_path):
    state = filled(tmp_path)
    for index in range(3):
        state.replace({"alpha": np.full(4, index)}, {"products": 10 + index})
        again = RunState(tmp_path, CONFIGURATION)
        ((arrays, attributes),) = again.segments()
        assert len(state) == len(again) == 1
        assert arrays["alpha"].tolist() == [index] * 4 and attributes == {"products": 10 + index}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configuration.json", "segment-000000.h5"]
    state.append({"alpha": np.zeros(1)}, {"products": 13})
    assert len(RunState(tmp_path, CONFIGURATION)) == 2


def test_a_replacement_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    state = RunState(tmp_path, CONFIGURATION)
    state.replace({"alpha": np.ones(2)}, {"products": 1})

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(ComputeError, match="No space left"):
            state.replace({"alpha": np.zeros(2)}, {"products": 2})
    ((arrays, attributes),) = RunState(tmp_path, CONFIGURATION).segments()
    assert arrays["alpha"].tolist() == [1, 1] and attributes == {"products": 1}
