"""Reading runs: lazily, exactly, and saying what is wrong with one."""

from __future__ import annotations

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

import landscape as ls
from landscape import store
from landscape.cli import run as command
from landscape.cli.summaries.trajectory import trajectory_in_words
from landscape.errors import InputError
from landscape.trajectory import is_trajectory, parts
from landscape.trajectory.files import read_header, segment_path, segments_folder, write_header
from tests.trajectory.recordings import record


@pytest.fixture
def run(tmp_path):
    record(
        tmp_path / "run.h5", steps=11, every=2, segment_bytes=800, provenance={"objective": "zoo:x", "set": {"a": 1}}
    )
    return ls.Trajectory(tmp_path / "run.h5")


def test_it_is_a_sequence(run):
    assert len(run) == 7
    assert [checkpoint.step for checkpoint in run] == run.steps.tolist() == [0, 2, 4, 6, 8, 10, 11]
    for index in range(-7, 7):
        assert run[index].step == run.steps[index]
    assert [checkpoint.step for checkpoint in run[1:6:2]] == [2, 6, 10]
    assert run[np.int64(-1)].step == 11
    for index in (7, -8):
        with pytest.raises(IndexError):
            run[index]
    one = run[3]
    assert one.names == run.names and one.shapes == run.shapes
    assert one.n == run.n == sum(int(np.prod(shape)) for shape in run.shapes)
    assert one.loss == run.losses[3] and one.learning_rate == run.learning_rates[3]
    assert run.every == 2
    assert repr(run).endswith("run.h5': SGD, 7 checkpoints of 50 parameters)")


@pytest.mark.parametrize("piece", [1, 500, 2**25])
def test_blocks_and_packed_runs(run, tmp_path, monkeypatch, piece):
    monkeypatch.setattr(parts, "PIECE_BYTES", piece)
    packed = ls.load(run.pack(tmp_path / "packed.h5"))
    assert isinstance(packed, ls.Trajectory)
    theta = np.stack([checkpoint.theta for checkpoint in run])
    for one in (run, packed):
        starts, blocks = zip(*one.blocks(), strict=True)
        assert np.array_equal(np.concatenate(blocks), theta)
        assert list(starts) == np.cumsum([0, *map(len, blocks)])[:-1].tolist()
    assert len(blocks) == {1: 7, 500: 7, 2**25: 1}[piece]
    assert packed.digest() == run.digest()
    assert packed.complete and packed.provenance == run.provenance and packed.optimizer == run.optimizer
    assert packed.files == (packed.path,)
    for before, after in zip(run, packed, strict=True):
        for name in ("theta", "momentum", "second_moment"):
            assert np.array_equal(getattr(before, name), getattr(after, name))
        assert before.buffers.keys() == after.buffers.keys()
        assert all(np.array_equal(before.buffers[name], after.buffers[name]) for name in before.buffers)
    shutil.rmtree(segments_folder(run.path))
    assert packed[4].theta.tobytes() == theta[4].tobytes()
    with h5py.File(packed.path) as file:  # any HDF5 tool sees the whole run
        assert np.array_equal(file["theta"], theta)


def test_digest_is_that_of_the_content(run, tmp_path):
    record(tmp_path / "again.h5", steps=11, every=2)
    assert ls.Trajectory(tmp_path / "again.h5").digest() == run.digest()  # other segments, same checkpoints
    record(tmp_path / "other.h5", steps=11, every=2, seed=1)
    record(tmp_path / "fewer.h5", steps=11, every=3)
    assert len({run.digest(), *(ls.Trajectory(tmp_path / f"{name}.h5").digest() for name in ("other", "fewer"))}) == 3


def test_opening_needs_no_torch(run):
    code = (
        "import sys, landscape as ls; from landscape.cli.summaries.trajectory import trajectory_in_words\n"
        "run = ls.load('run.h5'); run[-1]; list(run.blocks()); trajectory_in_words(run); run.pack('packed.h5')\n"
        "from landscape import store; store.describe('run.h5'); ls.Trajectory\n"
        "print({'torch', 'mpi4py'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=run.path.parent, text=True, capture_output=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_what_is_a_trajectory(run, tmp_path):
    assert is_trajectory(run.path) and is_trajectory(str(run.path))
    (tmp_path / "text.h5").write_text("no")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["theta"] = np.zeros(3)
    density = ls.SpectralDensity(np.array([0.0]), np.array([1.0]), 1)
    density.save(tmp_path / "density.h5")
    for name in ("text.h5", "foreign.h5", "density.h5", "gone.h5", "."):
        assert not is_trajectory(tmp_path / name)
    for name, words in {
        "text.h5": "is not an HDF5 file",
        "foreign.h5": "of another program",
        "density.h5": "holds an eigenvalue density .spectral_density.; a recorded run is needed",
        "gone.h5": "there is no file",
    }.items():
        with pytest.raises(InputError, match=words):
            ls.Trajectory(tmp_path / name)
    for load in (ls.Trajectory, ls.load):
        with pytest.raises(InputError, match=r"a piece of a recorded run; open"):
            load(segment_path(run.path, 0))
    with pytest.raises(InputError, match=r"a recorded run; open it with landscape\.Trajectory"):
        store.load(run.path)


def unfinished(path):
    header, _ = read_header(path)
    write_header(path, type(header)(**{**vars(header), "complete": False, "checkpoints": 0}))


@pytest.mark.parametrize("damage", ["missing", 0, 100, -1])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_damaged_segments(run, damage, which):
    number = len(run.files) - 1
    assert number >= 4
    last = which == -1
    segment = segment_path(run.path, which % number)
    whole = segment.read_bytes()
    if damage == "missing":
        segment.unlink()
    else:
        segment.write_bytes(whole[:damage])
    name = segments_folder(run.path).name if last and damage == "missing" else segment.name
    with pytest.raises(InputError, match=name):
        ls.Trajectory(run.path)
    unfinished(run.path)
    if last:  # what a computer that lost its power left
        found = ls.Trajectory(run.path)
        assert not found.complete
        assert 0 < len(found) < len(run)
        assert found.steps.tolist() == run.steps[: len(found)].tolist()
        assert found[-1].theta.tobytes() == run[len(found) - 1].theta.tobytes()
    else:
        with pytest.raises(InputError, match=segment.name):
            ls.Trajectory(run.path)


def contents(run):
    """Everything that a checkpoint says, in a form in which NaN equals NaN."""
    moments = [(point.momentum, point.second_moment, *point.buffers.values()) for point in run]
    numbers = [(point.theta.tobytes(), repr(point.loss), point.step, point.learning_rate) for point in run]
    return numbers, [[repr(value) for value in values] for values in moments], run.digests.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_no_damage_goes_unnoticed(run, tmp_path, seed, packed):
    if packed:
        run = ls.Trajectory(run.pack(tmp_path / "packed.h5"))
    random = np.random.default_rng(seed)
    expected = contents(run)
    for _ in range(12):
        path = random.choice(run.files[-3:])
        whole = path.read_bytes()
        broken = bytearray(whole)
        if random.random() < 0.3:  # what a lost page leaves
            with h5py.File(path) as file:
                dataset = file[random.choice(["theta", "steps", "learning_rates", "buffers/1.running_var"])]
                start, size = dataset.id.get_offset(), dataset.id.get_storage_size()
            broken[start : start + size] = bytes(size)
        else:
            broken[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(broken)
        try:
            found = contents(ls.Trajectory(run.path))
        except InputError:
            assert broken != whole
        else:  # bytes that mean nothing
            assert found == expected
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["theta", "momentum", "buffers/1.running_var", "losses", "theta_sha256"])
def test_checksums_are_of_rows(run, name):
    """Damage in one checkpoint is named where it is read, and hides no other."""
    path = segment_path(run.path, 2)
    with h5py.File(path, "r+") as file:
        value = file[name][0]
        file[name][0] = b"0" * 64 if name == "theta_sha256" else value + 1
    if name in ("losses", "theta_sha256"):
        with pytest.raises(InputError, match=r"segment-000002\.h5 is damaged: its facts"):
            ls.Trajectory(run.path)
        return
    damaged = ls.Trajectory(run.path)
    assert len(damaged) == len(run)
    with pytest.raises(InputError, match=rf"segment-000002\.h5 is damaged: its {name.partition('/')[0]}"):
        damaged[3]
    for index in (2, 4, -1):
        assert damaged[index].theta.tobytes() == run[index].theta.tobytes()


def test_a_copy_without_its_folder(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(run.path, tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"run\.h5\.segments are missing; copy this folder along"):
        ls.Trajectory(tmp_path / "elsewhere" / "run.h5")


def test_segments_of_another_run(run, tmp_path):
    import torch

    with ls.Recorder(tmp_path / "other.h5", torch.nn.Linear(2, 1)):
        pass
    shutil.copy(segment_path(tmp_path / "other.h5", 0), segment_path(run.path, 2))
    with pytest.raises(InputError, match=r"theta of shape \(1, 3\), but the run has 50 parameters"):
        ls.Trajectory(run.path)


def test_pack_refuses(run, tmp_path):
    with pytest.raises(InputError, match="is the run itself"):
        run.pack(run.path, overwrite=True)
    (tmp_path / "there.h5").write_text("something")
    with pytest.raises(InputError, match="exists"):
        run.pack(tmp_path / "there.h5")
    run.pack(tmp_path / "there.h5", overwrite=True)
    with pytest.raises(InputError, match="cannot write"):
        run.pack(tmp_path / "no" / "folder.h5")


def test_the_pack_command(run, tmp_path, capsys):
    packed = tmp_path / "run-packed.h5"
    assert command(["pack", str(run.path)]) == 0
    assert "7 checkpoints" in capsys.readouterr().out
    assert ls.Trajectory(packed).digest() == run.digest()
    assert command(["pack", str(run.path)]) == 0
    assert "already complete" in capsys.readouterr().out
    record(tmp_path / "other.h5", steps=2)
    assert command(["pack", str(tmp_path / "other.h5"), "-o", str(packed)]) == 2
    assert "something else" in capsys.readouterr().err
    assert command(["pack", str(run.path), "-o", str(run.path)]) == 2
    assert "is the run itself" in capsys.readouterr().err
    unfinished(run.path)
    assert command(["pack", str(run.path), "--overwrite"]) == 0
    assert "unfinished" in capsys.readouterr().out
    assert not ls.Trajectory(packed).complete
    for path, words in ((run.path, "UNFINISHED"), (packed, "momentum buffer, in the order of theta")):
        assert command(["info", str(path)]) == 0
        assert words in capsys.readouterr().out


def test_a_run_in_words(run, tmp_path):
    text = "\n".join(trajectory_in_words(run))
    for words in (
        "SGD(lr=0.1, momentum=0.9",
        "50 in 7 tensors, 0.weight to 4.bias",
        "7, of steps 0 to 11, kept every 2",
        f"{run.losses[1]:.6g} at step 2, {run.losses[-1]:.6g} at step 11",
        "theta, buffers, momentum",
        "zoo:x --set a=1",
        "complete",
    ):
        assert words in text
    unfinished(run.path)
    segment_path(run.path, len(run.files) - 2).unlink()
    cut = ls.Trajectory(run.path)
    assert f"UNFINISHED: cut off after step {cut.steps[-1]}" in "\n".join(trajectory_in_words(cut))
    described = store.describe(run.path)
    assert described["kind"] == "trajectory"
    assert described["values"]["complete"] is False
    assert described["groups"]["provenance"]["objective"] == "zoo:x"
    packed = store.describe(cut.pack(tmp_path / "packed.h5"))
    assert packed["arrays"]["theta"]["shape"] == (len(cut), 50)
    assert packed["arrays"]["momentum"]["description"]
    segment = store.describe(segment_path(run.path, 0))
    assert segment["kind"] == "trajectory_segment"
    with pytest.raises(InputError, match=r"give the run itself, .*run\.h5$"):
        store.describe(segments_folder(run.path))


def test_diverged_and_silent_runs_in_words(tmp_path):
    import torch

    with ls.Recorder(tmp_path / "run.h5", torch.nn.Linear(2, 1)) as recorder:
        for loss in (1.0, 2.0, float("nan"), float("inf")):
            recorder.step(loss=loss)
    text = "\n".join(trajectory_in_words(ls.Trajectory(tmp_path / "run.h5")))
    assert "1 at step 1, 2 at step 2; 2 later ones are not finite" in text
    with ls.Recorder(tmp_path / "silent.h5", torch.nn.Linear(2, 1)):
        pass
    text = "\n".join(trajectory_in_words(ls.Trajectory(tmp_path / "silent.h5")))
    assert "1, of step 0" in text
    assert text.count("not recorded") == 2
