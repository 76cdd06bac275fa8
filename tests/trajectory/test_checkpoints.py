"""Runs made of the files that training scripts have written."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import landscape as ls
from landscape.errors import InputError
from tests.trajectory.recordings import data, flat, network, train, trained


@pytest.fixture
def moments():
    """The network at four moments of its training."""
    model = network()
    optimizer = torch.optim.SGD(trained(model), lr=0.1)
    found = [copy.deepcopy(model)]
    train(model, optimizer, 3, after=lambda step: found.append(copy.deepcopy(model)))
    return found


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


WRITERS = {
    "plain.pt": lambda state, path: torch.save(state, path),
    "parallel.pth": lambda state, path: torch.save(prefixed("module.", state), path),
    "compiled.pt": lambda state, path: torch.save({"model": prefixed("_orig_mod.", state), "epoch": 1}, path),
    "lightning.ckpt": lambda state, path: torch.save({"state_dict": prefixed("model.", state), "epoch": 1}, path),
    "both.pt": lambda state, path: torch.save({"model_state_dict": prefixed("module._orig_mod.", state)}, path),
    "st.safetensors": lambda state, path: save_file(state, path),
    "st2.safetensors": lambda state, path: save_file(prefixed("module.", state), path),
}


def written(folder, moments, kind):
    paths = [folder / f"{number}-{kind}" for number in range(len(moments))]
    for path, model in zip(paths, moments, strict=True):
        WRITERS[kind](model.state_dict(), path)
    return paths


@pytest.mark.parametrize("kind", WRITERS)
def test_with_a_model(tmp_path, moments, kind):
    paths = written(tmp_path, moments, kind)
    run = ls.Trajectory.from_checkpoints(paths, model=moments[0], steps=[0, 10, 20, 30], losses=[4, 3, 2, 1])
    assert run.complete and len(run) == 4
    assert run.steps.tolist() == [0, 10, 20, 30] and run.losses.tolist() == [4, 3, 2, 1]
    assert run.names == tuple(name for name, value in moments[0].named_parameters() if value.requires_grad)
    objective = ls.Objective(copy.deepcopy(moments[0]).eval(), nn.CrossEntropyLoss(), data())
    for index, model in enumerate(moments):
        assert np.array_equal(run[index].theta, flat(model))
        expected = ls.Objective(copy.deepcopy(model).eval(), nn.CrossEntropyLoss(), data())
        assert run.digests[index] == expected.describe()["theta_sha256"]
        assert objective.at(run[index]).loss() == expected.loss()
    assert [len(theta) for _, theta in run.blocks()] == [1, 1, 1, 1]
    packed = ls.Trajectory(run.pack(tmp_path / "packed.h5"))
    assert packed.digest() == run.digest()
    assert packed.name == run.name == tmp_path.name


@pytest.mark.parametrize("kind", WRITERS)
def test_without_a_model(tmp_path, moments, kind):
    run = ls.Trajectory.from_checkpoints(written(tmp_path, moments, kind), name="mine")
    assert run.steps.tolist() == [0, 1, 2, 3]
    assert np.isnan(run.losses).all()
    assert run.name == "mine"
    # Which parameters are frozen is not known, and safetensors has an order of its own.
    assert sorted(run.names) == sorted(name for name, _ in moments[0].named_parameters())
    assert run[2].buffers.keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    full = copy.deepcopy(moments[0]).eval().requires_grad_(True)
    objective = ls.Objective(full, nn.CrossEntropyLoss(), data())
    for index, model in enumerate(moments):
        expected = ls.Objective(copy.deepcopy(model).eval().requires_grad_(True), nn.CrossEntropyLoss(), data())
        assert objective.at(run[index]).describe() == expected.describe()


def test_tied_parameters_are_one(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    torch.save(model.state_dict(), tmp_path / "a.pt")
    names = tuple(name for name, _ in model.named_parameters())
    assert ls.Trajectory.from_checkpoints([tmp_path / "a.pt"]).names == names
    assert ls.Trajectory.from_checkpoints([tmp_path / "a.pt"], model=model).names == names


def test_files_of_another_model(tmp_path, moments):
    paths = written(tmp_path, moments, "plain.pt")
    narrow = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"0-plain\.pt belongs to another model: '3\.weight' .*\(4, 4\).*\(3, 4\)"):
        ls.Trajectory.from_checkpoints(paths, model=narrow)
    with pytest.raises(InputError, match=r"it lacks 'weight' of shape \(2, 3\); it has '0\.weight' of shape \(4, 3\)"):
        ls.Trajectory.from_checkpoints(paths, model=nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"the model lacks '4\.weight' of shape \(2, 4\)"):
        ls.Trajectory.from_checkpoints(paths, model=network()[:4])
    torch.save(narrow.state_dict(), paths[2])
    with pytest.raises(InputError, match=r"2-plain\.pt belongs to another model than .*0-plain\.pt: '3\.weight'"):
        ls.Trajectory.from_checkpoints(paths)


def test_a_file_that_changes_later(tmp_path, moments):
    paths = written(tmp_path, moments, "plain.pt")
    run = ls.Trajectory.from_checkpoints(paths)
    torch.save(nn.Linear(2, 2).state_dict(), paths[1])
    with pytest.raises(InputError, match=r"1-plain\.pt belongs to another model"):
        run[1]
    paths[1].unlink()
    with pytest.raises(InputError, match=r"there is no file .*1-plain\.pt"):
        list(run.blocks())


def test_bad_input(tmp_path, moments):
    paths = written(tmp_path, moments, "plain.pt")
    with pytest.raises(InputError, match="needs at least one file"):
        ls.Trajectory.from_checkpoints([])
    with pytest.raises(InputError, match="needs a list of files"):
        ls.Trajectory.from_checkpoints(str(paths[0]))
    with pytest.raises(InputError, match="3 steps were given for 4 files"):
        ls.Trajectory.from_checkpoints(paths, steps=[1, 2, 3])
    with pytest.raises(InputError, match="there is no file"):
        ls.Trajectory.from_checkpoints([*paths, tmp_path / "gone.pt"])
    torch.save({"count": torch.tensor(3)}, tmp_path / "counts.pt")
    with pytest.raises(InputError, match="holds no parameters"):
        ls.Trajectory.from_checkpoints([tmp_path / "counts.pt"])
    paths[3].write_bytes(paths[3].read_bytes()[:500])
    with pytest.raises(InputError, match=r"3-plain\.pt is (truncated|damaged)"):
        ls.Trajectory.from_checkpoints(paths)
