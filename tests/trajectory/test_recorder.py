"""What a recorder writes is what was there; what it reads stays as it was."""

from __future__ import annotations

import contextlib
import copy
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import ComputeError, InputError
from landscape.trajectory.files import segment_path, segment_paths
from tests.trajectory.recordings import data, flat, network, record, train, trained


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("segment_bytes", [1, 1000, 2**25])
def test_what_was_there_comes_back(tmp_path, seed, segment_bytes):
    model, seen = record(tmp_path / "run.h5", steps=10, seed=seed, every=3, segment_bytes=segment_bytes)
    run = ls.Trajectory(tmp_path / "run.h5")
    assert run.complete
    assert run.steps.tolist() == [0, 3, 6, 9, 10]
    assert len(segment_paths(run.path)) == {1: 5, 1000: 3, 2**25: 2}[segment_bytes]
    assert run.names == tuple(name for name, value in model.named_parameters() if value.requires_grad)
    assert run.shapes == tuple(tuple(value.shape) for value in trained(model))
    for index, step in enumerate(run.steps):
        assert run[index].theta.tobytes() == seen[step].tobytes()
        assert run[index].step == step
    for name, value in model.named_buffers():
        assert np.array_equal(run[-1].buffers[name], value.numpy())
        assert run[-1].buffers[name].dtype == value.numpy().dtype
        assert run[-1].buffers[name].shape == value.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_digest_and_loss_are_those_of_the_objective(tmp_path, dtype):
    model = network(dtype=dtype)
    optimizer = torch.optim.SGD(trained(model), lr=0.1)
    copies = []

    def evaluate():
        copies.append(copy.deepcopy(model).eval())
        return ls.Objective(copies[-1], nn.CrossEntropyLoss(), data(dtype)).loss()

    with ls.Recorder(tmp_path / "run.h5", model, optimizer, every=2, evaluate=evaluate) as recorder:
        train(model, optimizer, 6, recorder)
    run = ls.Trajectory(tmp_path / "run.h5")
    objective = ls.Objective(copies[0], nn.CrossEntropyLoss(), data(dtype))
    assert len(copies) == len(run) == 4
    for index, moment in enumerate(copies):
        assert run.digests[index] == ls.Objective(moment, nn.CrossEntropyLoss(), data(dtype)).describe()["theta_sha256"]
        there = objective.at(run[index])
        assert there.describe()["theta_sha256"] == run.digests[index]
        assert there.loss() == run.losses[index]


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1), None, None),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum_buffer", None),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01), "exp_avg", "exp_avg_sq"),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01)), "exp_avg", "exp_avg_sq"),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5), "momentum_buffer", "square_avg"),
    "prox_sgd": (lambda p: ls.optim.build("prox_sgd", p, lr=0.01), "momentum", "second_moment"),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizer_state(tmp_path, kind):
    make, momentum, second = OPTIMIZERS[kind]
    model = network()
    optimizer = make(trained(model))
    expected = {}

    def remember(step):
        for label, key in (("momentum", momentum), ("second_moment", second)):
            if key is not None:
                parts = [optimizer.state[value][key].reshape(-1) for value in trained(model)]
                expected[label, step] = torch.cat(parts).numpy().copy()

    with ls.Recorder(tmp_path / "run.h5", model, optimizer, segment_bytes=2000) as recorder:
        train(model, optimizer, 5, recorder, remember)
    run = ls.Trajectory(tmp_path / "run.h5")
    for path in (run.path, run.pack(tmp_path / "packed.h5")):
        for checkpoint in ls.Trajectory(path):
            for label in ("momentum", "second_moment"):
                found = getattr(checkpoint, label)
                if (label, checkpoint.step) in expected:
                    assert np.array_equal(found, expected[label, checkpoint.step])
                else:
                    assert found is None
    assert run.optimizer["class"] == type(optimizer).__name__ == run.name
    assert run.optimizer["defaults"]["lr"] == pytest.approx(float(optimizer.defaults["lr"]))
    assert np.allclose(run.learning_rates, float(optimizer.defaults["lr"]), rtol=1e-7)


def test_learning_rates_follow_the_schedule_and_state_can_be_left_out(tmp_path):
    model = network()
    optimizer = torch.optim.Adam([{"params": trained(model)[:1]}, {"params": trained(model)[1:], "lr": 0.5}], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with ls.Recorder(tmp_path / "run.h5", model, optimizer, optimizer_state=False, name="mine") as recorder:
        train(model, optimizer, 4, recorder, lambda step: schedule.step())
    run = ls.Trajectory(tmp_path / "run.h5")
    assert run.learning_rates.tolist() == [0.1, 0.1, 0.05, 0.025, 0.0125]
    assert [group["lr"] for group in run.optimizer["groups"]] == [0.1, 0.5]
    assert run[-1].momentum is None and run[-1].second_moment is None
    assert run.name == "mine"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_of_the_user_changes(tmp_path, seed):
    def final(recorded):
        model = nn.Sequential(network(seed), nn.Dropout(0.3))
        optimizer = torch.optim.Adam(trained(model), lr=0.01)
        torch.manual_seed(seed)
        recorder = None
        if recorded:

            def evaluate():
                model.eval()
                return float(torch.rand(()))  # an evaluation that uses random numbers and forgets the mode

            recorder = ls.Recorder(tmp_path / "run.h5", model, optimizer, evaluate=evaluate).__enter__()
        train(model, optimizer, 5, recorder)
        if recorder is not None:
            recorder.__exit__(None, None, None)
        assert model.training and all(value.grad is not None for value in trained(model))
        return flat(model), torch.get_rng_state(), optimizer.state_dict()

    with_recorder, without = final(True), final(False)
    assert np.array_equal(with_recorder[0], without[0])
    assert torch.equal(with_recorder[1], without[1])
    assert str(with_recorder[2]) == str(without[2])


def test_wrapped_models(tmp_path):
    model = network()
    compiled = torch.compile(model, backend="eager")
    with ls.Recorder(tmp_path / "compiled.h5", compiled):
        pass
    with ls.Recorder(tmp_path / "parallel.h5", nn.DataParallel(model)):
        pass
    runs = [ls.Trajectory(tmp_path / f"{name}.h5") for name in ("compiled", "parallel")]
    assert runs[0].names == runs[1].names == tuple(n for n, value in model.named_parameters() if value.requires_grad)
    assert runs[0].digest() == runs[1].digest()
    assert runs[0].name == "compiled"  # no optimizer, no name: that of the file
    assert np.isnan(runs[0].learning_rates).all()


def test_distributed_ranks_record_once(tmp_path, monkeypatch):
    model = network()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    with ls.Recorder(tmp_path / "run.h5", model) as recorder:
        recorder.step(loss=1.0)
        recorder.rewind(0)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with ls.Recorder(tmp_path / "run.h5", model) as recorder:
        recorder.step(loss=1.0)
    assert ls.Trajectory(tmp_path / "run.h5").losses[1] == 1


def test_half_precision_and_tied_parameters(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).to(torch.bfloat16)
    model[1].weight = model[0].weight
    with ls.Recorder(tmp_path / "run.h5", model):
        pass
    run = ls.Trajectory(tmp_path / "run.h5")
    assert run.names == ("0.weight", "0.bias", "1.bias")
    assert run[0].theta.dtype == np.float32  # which holds bfloat16 exactly
    assert torch.equal(torch.from_numpy(run[0].theta[:9]).view(3, 3), model[0].weight.float())


def test_an_exception_keeps_what_is_finished(tmp_path):
    def diverge():
        with ls.Recorder(tmp_path / "run.h5", network(), every=2) as recorder:
            for step in range(1, 8):
                recorder.step(loss=1 / (7 - step))

    with pytest.raises(ZeroDivisionError):
        diverge()
    run = ls.Trajectory(tmp_path / "run.h5")
    assert not run.complete
    assert run.steps.tolist() == [0, 2, 4, 6]


def test_flush_and_time_finish_segments(tmp_path):
    model = network()
    with ls.Recorder(tmp_path / "run.h5", model, segment_seconds=1e9) as recorder:
        recorder.step(loss=0.5)
        assert len(ls.Trajectory(tmp_path / "run.h5")) == 1  # step 0 is there as soon as the recording has begun
        recorder.flush()
        assert ls.Trajectory(tmp_path / "run.h5").losses[1:].tolist() == [0.5]
    with ls.Recorder(tmp_path / "other.h5", model, segment_seconds=0) as recorder:
        recorder.step()
        assert len(ls.Trajectory(tmp_path / "other.h5")) == 2


def test_a_long_run_is_never_in_memory(tmp_path):
    model = nn.Linear(2**15, 1)  # 131 kB each, 13 MB in all
    tracemalloc.start()
    with ls.Recorder(tmp_path / "run.h5", model, segment_bytes=2**19) as recorder:
        for _ in range(100):
            recorder.step()
    run = ls.Trajectory(tmp_path / "run.h5")
    assert sum(len(theta) for _, theta in run.blocks()) == 101
    assert sum(1 for _ in run) == 101
    packed = ls.Trajectory(run.pack(tmp_path / "packed.h5"))
    assert packed.digest() == run.digest()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 2**19


def content(path):
    """Everything a run holds, whatever its segments."""
    run = ls.Trajectory(path)
    vectors = [[vector.tobytes() for vector in (point.theta, point.buffers["1.running_var"])] for point in run]
    return run.complete, run.digest(), run.losses.tobytes(), vectors


@pytest.mark.parametrize("step", [0, 3, 4, 7, 10])
@pytest.mark.parametrize(("cut", "segment_bytes"), [(False, 1), (True, 1500), (False, 2**25)])
def test_a_trainer_goes_on_from_its_own_checkpoint(tmp_path, step, cut, segment_bytes):
    def trainer(name, first, last, state=None, resume=False):
        model = network()
        optimizer = torch.optim.SGD(trained(model), lr=0.1, momentum=0.9)
        if state:
            model.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        # A loss that nobody was told again is lost with a cut; one that is evaluated is not.
        evaluate = (lambda: float(flat(model).sum())) if cut else None
        options = {"every": 3, "segment_bytes": segment_bytes, "evaluate": evaluate, "resume": resume}
        with ls.Recorder(tmp_path / name, model, optimizer, **options) as recorder:
            recorder.rewind(first)
            for number in range(first, last + 1):
                if number == step:
                    recorder.flush()
                    saved.append(copy.deepcopy((model.state_dict(), optimizer.state_dict())))
                if number < last:
                    train(model, optimizer, 1, recorder)
            if cut and not resume:
                raise KeyboardInterrupt

    saved = []
    with pytest.raises(KeyboardInterrupt) if cut else contextlib.nullcontext():
        trainer("run.h5", 0, 10)
    trainer("run.h5", step, 10, saved[0], resume=True)
    trainer("straight.h5", 0, 10, resume=True)  # nothing is there, so it starts
    assert content(tmp_path / "run.h5") == content(tmp_path / "straight.h5")


def test_what_cannot_go_on(tmp_path):
    record(tmp_path / "run.h5", steps=4)
    model = network()
    momentum = torch.optim.SGD(trained(model), lr=0.7)  # a schedule may have changed the learning rate
    with ls.Recorder(tmp_path / "run.h5", model, momentum, resume=True) as recorder:
        assert recorder.steps == 4
        with pytest.raises(InputError, match="recorded up to step 4, so it cannot go on from 6"):
            recorder.rewind(6)
    with pytest.raises(InputError, match=r"another configuration:\n  every: 1 there, 2 now"):
        ls.Recorder(tmp_path / "run.h5", model, momentum, resume=True, every=2).__enter__()
    wider = nn.Linear(5, 1)
    with pytest.raises(InputError, match=r"parameters\.0\.weight: \[4, 3\] there, None now"):
        ls.Recorder(tmp_path / "run.h5", wider, resume=True).__enter__()
    packed = ls.Trajectory(tmp_path / "run.h5").pack(tmp_path / "packed.h5")
    with pytest.raises(InputError, match="packed run cannot go on"):
        ls.Recorder(packed, model, momentum, resume=True).__enter__()


def test_earlier_files(tmp_path):
    record(tmp_path / "run.h5", steps=6, segment_bytes=1)
    with pytest.raises(InputError, match=r"run\.h5 exists.*overwrite=True.*resume=True"):
        record(tmp_path / "run.h5")
    record(tmp_path / "run.h5", steps=2, overwrite=True)
    assert ls.Trajectory(tmp_path / "run.h5").steps.tolist() == [0, 1, 2]
    assert len(segment_paths(tmp_path / "run.h5")) == 2

    (tmp_path / "run.h5").unlink()
    for resume in (False, True):
        with pytest.raises(InputError, match=r"segments of a run whose index .*run\.h5 is missing"):
            record(tmp_path / "run.h5", steps=1, resume=resume)
    assert len(segment_paths(tmp_path / "run.h5")) == 2
    segment_path(tmp_path / "run.h5", 1).unlink()  # what a kill at the very start leaves
    record(tmp_path / "run.h5", steps=1)
    assert len(ls.Trajectory(tmp_path / "run.h5")) == 2
    (tmp_path / "run.h5").unlink()
    record(tmp_path / "run.h5", steps=3, overwrite=True)
    assert len(ls.Trajectory(tmp_path / "run.h5")) == 4

    (tmp_path / "thesis.h5").write_text("years of work")
    with pytest.raises(InputError, match="is no recorded run, so it is not overwritten"):
        record(tmp_path / "thesis.h5", overwrite=True)
    (tmp_path / "new.h5.segments").mkdir()
    (tmp_path / "new.h5.segments" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"new\.h5\.segments is no recorded run.*notes\.txt"):
        record(tmp_path / "new.h5")
    with pytest.raises(InputError, match="it is a folder"):
        record(tmp_path)


def test_two_recorders_of_one_file_are_noticed(tmp_path):
    with ls.Recorder(tmp_path / "run.h5", network()) as recorder:
        recorder.step()
        segment_path(tmp_path / "run.h5", 1).write_bytes(b"of another process")
        with pytest.raises(ComputeError, match="another process records"):
            recorder.flush()
        segment_path(tmp_path / "run.h5", 1).unlink()


def test_bad_input(tmp_path):
    model = network()
    path = tmp_path / "run.h5"
    with pytest.raises(InputError, match="every must be a whole number"):
        ls.Recorder(path, model, every=0)
    with pytest.raises(InputError, match="nothing is trainable"):
        ls.Recorder(path, network().requires_grad_(False))
    with pytest.raises(InputError, match=r"must be a torch\.nn\.Module"):
        ls.Recorder(path, "model")
    with pytest.raises(InputError, match="has no values yet"):
        ls.Recorder(path, nn.LazyLinear(2))
    with pytest.raises(InputError, match="moves none of the model's trainable parameters"):
        ls.Recorder(path, model, torch.optim.SGD(network().parameters(), lr=0.1))
    with pytest.raises(InputError, match=r"must be a torch\.optim\.Optimizer or None, not float"):
        ls.Recorder(path, model, 0.1)
    with pytest.raises(InputError, match="inside of its `with` block"):
        ls.Recorder(path, model).step()
    with pytest.raises(TypeError, match="cannot be stored"):
        ls.Recorder(path, model, provenance={"model": model})
    with ls.Recorder(path, model) as recorder:
        model[4] = nn.Linear(4, 3)
        with pytest.raises(InputError, match=r"4\.weight, of shape \(2, 4\), has shape \(3, 4\) now"):
            recorder.step()
        model[4] = nn.Linear(4, 2)
