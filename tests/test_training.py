"""Training: equal to a plain torch loop, recorded exactly, and the same bits after any interruption."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import landscape as ls
from landscape import zoo
from tests.cases import OnDict, cases, cut, mlp, points

SEEDS = (0, 1, 2)


def digits(samples: int = 200, **options: Any) -> ls.Objective:
    return zoo.build("digits-mlp", epochs=0, samples=samples, **options)


def noisy(seed: int = 0) -> nn.Sequential:
    """A network with all that a training could forget: batch norm, dropout, a frozen parameter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)
        ).double()
    model[4].bias.requires_grad_(False)
    return model.eval()


def noisy_objective(**options: Any) -> ls.Objective:
    return ls.Objective(noisy(), nn.CrossEntropyLoss(), cut(points(90), 30), **options)


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().reshape(-1) for value in model.parameters() if value.requires_grad])


def same(one: ls.Trajectory, other: ls.Trajectory) -> bool:
    """Whether two runs are bit for bit the same."""
    facts = [
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("steps", "losses", "learning_rates", "digests")
    ]
    moments = [
        np.array_equal(a, b)
        for first, second in zip(one, other, strict=True)
        for a, b in ((first.theta, second.theta), (first.momentum, second.momentum))
        if a is not None or b is not None
    ]
    return all(facts) and all(moments) and one.digest() == other.digest() and one.complete and other.complete


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_plain_loop(seed: int, tmp_path: Path) -> None:
    objective = digits(seed=seed, weight_decay=1e-2)
    run = ls.train(
        objective, "sgd", lr=0.1, epochs=3, batch=48, every=1, seed=seed, options={"momentum": 0.9}, path=tmp_path / "a"
    )
    model = objective.model().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    thetas = [theta_of(model)]
    for epoch in range(3):
        for inputs, targets in objective.mini_batches(48, seed, epoch):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            thetas.append(theta_of(model))
    assert run.steps.tolist() == list(range(len(thetas))) == list(range(16)) and run.complete
    for checkpoint, expected in zip(run, thetas, strict=True):
        assert np.allclose(checkpoint.theta, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert run.name == "SGD" and run.learning_rates.tolist() == [0.1] * 16 and run[-1].momentum is not None
    assert run.losses[-1] < run.losses[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_batch_norm_and_dropout_train_as_in_a_plain_loop_of_the_same_seed(seed: int, tmp_path: Path) -> None:
    objective = noisy_objective()
    run = ls.train(objective, "adam", lr=1e-2, epochs=4, batch=20, every=3, seed=seed, path=tmp_path / "run.h5")
    model = noisy().train()
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for epoch in range(4):
            for inputs, targets in objective.mini_batches(20, seed, epoch):
                optimizer.zero_grad()
                functional.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
    assert np.array_equal(run[-1].theta, theta_of(model).numpy())
    for name, value in model.named_buffers():
        assert np.array_equal(run[-1].buffers[name], value.numpy())
    assert run.steps.tolist() == [0, 3, 6, 9, 12, 15, 18, 20]
    assert not any(name == "4.bias" for name in run.names)
    model.eval()
    inputs, targets = points(90)
    assert run.losses[-1] == pytest.approx(functional.cross_entropy(model(inputs), targets).item(), rel=1e-12)


@pytest.mark.parametrize("objective", [noisy_objective, lambda: digits(weight_decay=1e-3)], ids=["noisy", "digits"])
@pytest.mark.parametrize("optimizer", ["sgd", "prox_sgd"])
def test_every_recorded_loss_is_that_of_the_objective_there(
    objective: Callable[[], ls.Objective], optimizer: str, tmp_path: Path
) -> None:
    fixed = objective()
    run = ls.train(fixed, optimizer, epochs=2, batch=30, every=2, path=tmp_path / "run.h5")
    assert len(run) > 3
    for index in range(len(run)):
        there = fixed.at(run[index])
        assert there.loss() == run.losses[index]
        assert there.describe()["theta_sha256"] == run.digests[index]
    assert run[0].theta.tolist() == fixed.theta.tolist() and run.losses[0] == fixed.loss()


@pytest.mark.parametrize("name", ["dict batches", "opaque with weight", "class weights and ignore_index", "sum"])
def test_every_kind_of_loss_follows_the_gradient_of_the_case(name: str, tmp_path: Path) -> None:
    # One mini-batch of all samples: a step of SGD must follow the gradient of the case's own full loss.
    case = cases()[name]
    objective = case.objective()
    run = ls.train(objective, "sgd", lr=0.5, epochs=3, batch=objective.samples, every=1, path=tmp_path / "run.h5")
    theta = case.theta
    for checkpoint, loss in zip(run, run.losses, strict=True):
        assert np.allclose(checkpoint.theta, theta.numpy(), rtol=1e-9, atol=1e-12)
        assert loss == pytest.approx(case.full(theta).item(), rel=1e-9)
        variable = theta.clone().requires_grad_(True)
        theta = theta - 0.5 * torch.autograd.grad(case.full(variable), variable)[0]


def test_a_mini_batch_without_any_counted_target_is_no_nan(tmp_path: Path) -> None:
    inputs, targets = points(20)
    targets[:10] = -100
    objective = ls.Objective(mlp(), nn.CrossEntropyLoss(), (inputs, targets), weight_decay=0.1)
    run = ls.train(objective, "sgd", epochs=3, batch=1, every=20, path=tmp_path / "run.h5")
    assert np.isfinite(run.losses).all() and run.losses[-1] < run.losses[0]
    model = objective.model()
    loss = objective.batch_loss(model, (inputs[:2], targets[:2]))
    assert loss.item() == pytest.approx(0.05 * float(objective.theta @ objective.theta)) and loss.requires_grad


def test_selected_parameters_move_and_nothing_of_the_user_does(tmp_path: Path) -> None:
    model = noisy()
    model.train()[3].eval()
    model[3].p = 0.0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objective = ls.Objective(model, nn.CrossEntropyLoss(), points(64), parameters="^0|^6")
    random_state, threads = torch.get_rng_state(), torch.get_num_threads()
    theta = objective.theta.clone()
    run = ls.train(objective, "adam", epochs=2, batch=16, path=tmp_path / "run.h5")
    assert run.names == ("0.weight", "0.bias", "6.weight", "6.bias") == objective.names
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not model[3].training and model[0].weight.requires_grad and model[0].weight.grad is None
    assert torch.equal(torch.get_rng_state(), random_state) and torch.get_num_threads() == threads
    assert torch.equal(objective.theta, theta) and not np.array_equal(run[-1].theta, theta.numpy())
    private = objective.model()
    assert not private.training and private[0].weight.requires_grad and not private[1].weight.requires_grad
    assert torch.equal(private[1].weight, before["1.weight"])


def test_a_training_on_the_cpu_leaves_other_devices_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = noisy_objective()

    def touched(*arguments: Any) -> None:
        raise AssertionError("the random numbers of CUDA")

    for name in ("manual_seed_all", "manual_seed", "set_rng_state", "get_rng_state"):
        monkeypatch.setattr(torch.cuda, name, touched)
    assert ls.train(objective, epochs=1, batch=30, path=tmp_path / "run.h5").complete


@pytest.mark.parametrize("objective", [noisy_objective, digits], ids=["noisy", "digits"])
def test_the_callers_modes_do_not_reach_the_training(objective: Callable[[], ls.Objective], tmp_path: Path) -> None:
    first = ls.train(objective(), "adam", epochs=1, batch=30, path=tmp_path / "first")
    torch.manual_seed(99)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):  # which changes float32 networks only
        second = ls.train(objective(), "adam", epochs=1, batch=30, path=tmp_path / "second")
    assert same(first, second)
    other = ls.train(objective(), "adam", epochs=1, batch=30, seed=1, path=tmp_path / "third")
    assert not np.array_equal(other[-1].theta, first[-1].theta)


def test_exact_zeros_come_last_as_one_more_step(tmp_path: Path) -> None:
    options = {"l1": 1e-2, "schedule": "constant"}
    objective = digits()
    rough, sparse = (
        ls.train(objective, "prox_sgd", epochs=4, batch=50, options=options, finalize=finalize, path=tmp_path / str(i))
        for i, finalize in enumerate((False, True))
    )
    assert rough.steps[-1] == 16 and sparse.steps[-1] == 17
    assert (rough[-1].theta == 0).sum() == 0 and (sparse[-1].theta == 0).sum() > 100
    assert np.array_equal(rough[-1].theta[sparse[-1].theta != 0], sparse[-1].theta[sparse[-1].theta != 0])
    assert sparse.losses[-1] == objective.at(sparse[-1]).loss()
    sparser = ls.train(objective, "prox_sgd", epochs=4, batch=50, every=7, options=options, path=tmp_path / "every 7")
    assert sparser.steps.tolist() == [0, 7, 14, 16, 17]
    assert np.array_equal(sparser[3].theta, rough[-1].theta) and np.array_equal(sparser[4].theta, sparse[-1].theta)
    without = ls.train(objective, "prox_sgd", epochs=1, batch=50, path=tmp_path / "no l1")
    assert without.steps[-1] == 4  # nothing to finalize, no step


class CutShortError(Exception):
    pass


def cut_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, text: str) -> None:
        if done == step:
            raise CutShortError

    return progress


OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {"amsgrad": True},
    "lbfgs": {"max_iter": 3, "history_size": 3},
    "nadam": {},
    "radam": {},
    "asgd": {},
    "prox_sgd": {"l1": 1e-3},
}


@pytest.mark.parametrize("optimizer", list(OPTIONS))
def test_a_training_that_was_cut_short_goes_on_with_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"epochs": 4, "batch": 25, "every": 3, "options": OPTIONS[optimizer], "seed": 3}
    whole = ls.train(noisy_objective(), optimizer, **arguments, path=tmp_path / "whole.h5")
    path = tmp_path / "cut.h5"
    for step in (1, 9, 15):
        with pytest.raises(CutShortError):
            ls.train(noisy_objective(), optimizer, **arguments, path=path, checkpoint_seconds=0, progress=cut_at(step))
        assert not ls.Trajectory(path).complete
    seen: list[int] = []
    resumed = ls.train(
        noisy_objective(), optimizer, **arguments, path=path, progress=lambda done, total, text: seen.append(done)
    )
    assert same(whole, resumed) and seen[0] in (14, 15) and seen[-1] == 16
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        *("cut.h5", "cut.h5.segments", "whole.h5", "whole.h5.segments")
    ]


def test_another_name_does_not_cost_what_was_recorded(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"epochs": 2, "batch": 30, "every": 1, "path": tmp_path / "run.h5"}
    with pytest.raises(CutShortError):
        ls.train(noisy_objective(), **arguments, name="old", checkpoint_seconds=0, progress=cut_at(4))
    seen: list[int] = []
    run = ls.train(noisy_objective(), **arguments, name="new", progress=lambda done, total, text: seen.append(done))
    assert run.name == "new" and seen[0] > 3
    assert same(run, ls.train(noisy_objective(), **{**arguments, "path": tmp_path / "whole.h5"}))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_recording_that_does_not_fit_its_state_is_not_erased(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    arguments: dict[str, Any] = {"epochs": 2, "batch": 30, "path": path, "overwrite": overwrite}
    with pytest.raises(CutShortError):
        ls.train(noisy_objective(), **arguments, checkpoint_seconds=0, progress=cut_at(4))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.h5")}
    monkeypatch.setattr("landscape.trajectory.recorder._identity", lambda header: {"never the same": id(header)})
    with pytest.raises(ls.InputError, match="a recording of another configuration"):
        ls.train(noisy_objective(), **arguments)
    assert len(before) > 2 and before == {file: file.read_bytes() for file in tmp_path.rglob("*.h5")}


def test_a_training_without_a_saved_state_starts_again(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"epochs": 2, "batch": 30, "every": 1, "path": tmp_path / "run.h5"}
    with pytest.raises(CutShortError):
        ls.train(noisy_objective(), **arguments, progress=cut_at(4))
    assert not (tmp_path / "run.h5.state").exists()
    again = ls.train(noisy_objective(), **arguments)
    assert same(again, ls.train(noisy_objective(), **{**arguments, "path": tmp_path / "whole.h5"}))
    # A state whose recording is gone is of no use.
    with pytest.raises(CutShortError):
        ls.train(
            noisy_objective(), **{**arguments, "seed": 1, "overwrite": True}, checkpoint_seconds=0, progress=cut_at(4)
        )
    assert (tmp_path / "run.h5.state").exists()
    (tmp_path / "run.h5").unlink()
    assert ls.train(noisy_objective(), **{**arguments, "seed": 1, "overwrite": True}).complete


def test_a_complete_run_is_recognized_and_another_one_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    arguments: dict[str, Any] = {"epochs": 1, "batch": 30, "path": path}
    first = ls.train(noisy_objective(), "sgd", **arguments, provenance={"note": "first"})
    again = ls.train(noisy_objective(), "sgd", **arguments, provenance={"note": "second"}, progress=cut_at(1))
    assert same(first, again) and again.provenance["note"] == "first"
    with pytest.raises(ls.InputError, match=r"(?s)another configuration:.*batch: 30 there, 45 now.*overwritten"):
        ls.train(noisy_objective(), "sgd", **{**arguments, "batch": 45})
    with pytest.raises(ls.InputError, match=r"weight_decay: 0.0 there, 0.5 now"):
        ls.train(noisy_objective(weight_decay=0.5), "sgd", **arguments)
    assert ls.train(noisy_objective(), "sgd", **{**arguments, "batch": 45}, overwrite=True).steps[-1] == 2
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ls.InputError, match=r"notes.txt"):
            ls.train(noisy_objective(), "sgd", **{**arguments, "path": foreign}, overwrite=overwrite)
    assert foreign.read_text() == "mine"


def test_a_half_done_run_of_another_configuration_is_not_continued(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"epochs": 2, "batch": 30, "path": tmp_path / "run.h5", "checkpoint_seconds": 0}
    with pytest.raises(CutShortError):
        ls.train(noisy_objective(), **arguments, progress=cut_at(3))
    with pytest.raises(ls.InputError, match=r"lr: None there, 0.2 now"):
        ls.train(noisy_objective(), lr=0.2, **arguments)
    assert ls.train(noisy_objective(), lr=0.2, **arguments, overwrite=True).learning_rates[-1] == 0.2


SCRIPT = """
    import sys, time
    sys.path.insert(0, sys.argv[2])
    import landscape as ls
    from tests.test_training import noisy_objective
    run = ls.train(
        noisy_objective(), "prox_sgd", epochs=30, batch=25, every=2, options={"l1": 1e-3}, path=sys.argv[1],
        checkpoint_seconds=0.02, progress=lambda *_: time.sleep(float(sys.argv[3])),
    )
"""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_training_gives_the_same_run(seed: int, tmp_path: Path, faults: int) -> None:
    root, path = Path(__file__).parents[1], tmp_path / "run.h5"
    arguments = {"epochs": 30, "batch": 25, "every": 2, "options": {"l1": 1e-3}}
    whole = ls.train(noisy_objective(), "prox_sgd", **arguments, path=tmp_path / "whole.h5")
    generator = random.Random(seed)
    reached = []
    for _ in range(faults):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path), str(root), "0.01"], cwd=tmp_path
        )
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(ls.Trajectory(path).steps[-1])
    assert process.returncode == -signal.SIGKILL and not ls.Trajectory(path).complete
    resumed = ls.train(noisy_objective(), "prox_sgd", **arguments, path=path)
    assert same(whole, resumed) and reached == sorted(reached)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_diverging_training_stops_and_keeps_what_it_has(optimizer: str, tmp_path: Path) -> None:
    inputs, targets = points(40)
    square = (inputs, functional.one_hot(targets, 3).double())
    objective = ls.Objective(mlp(), nn.MSELoss(), square)
    path = tmp_path / "run.h5"
    lr = {"sgd": 1e200, "adam": 1e300}[optimizer]
    with pytest.raises(ls.ComputeError, match=r"(at step \d+|after \d+ steps).*smaller lr"):
        ls.train(objective, optimizer, lr=lr, epochs=5, batch=10, every=1, path=path)
    run = ls.Trajectory(path)
    assert not run.complete and run.losses[0] == objective.loss() and np.isfinite(run.losses).all()


def test_a_network_that_fails_in_train_mode_is_explained(tmp_path: Path) -> None:
    objective = ls.Objective(noisy(), nn.CrossEntropyLoss(), points(31))
    with pytest.raises(
        ls.InputError, match=r"train mode at step 0, on a mini-batch of torch.float64 \(1, 4\).*ValueError"
    ):
        ls.train(objective, epochs=1, batch=1, path=tmp_path / "run.h5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"batch": 91}, "batch=91, but the data has 90 samples"),
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must not be negative"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; choose one of sgd, adam"),
        ({"options": {"momentun": 0.9}}, "sgd has no option momentun; it has lr, momentum"),
        ({"lr": -1.0}, "sgd refuses its options lr=-1.0"),
        ({"path": "/dev/null/run.h5"}, "/dev/null"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ls.InputError, match=message):
        ls.train(noisy_objective(), **{"path": tmp_path / "run.h5", **arguments})
    assert not list(tmp_path.iterdir())


def test_something_else_than_an_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ls.InputError, match=r"train needs a landscape.Objective, not Linear"):
        ls.train(nn.Linear(2, 1), path=tmp_path / "run.h5")  # type: ignore[arg-type]


def test_a_model_on_dictionaries_trains_on_mixed_batches(tmp_path: Path) -> None:
    inputs, targets = points()
    objective = ls.Objective(
        OnDict().double(),
        lambda model, batch: functional.cross_entropy(model(batch), batch["y"]),
        [{"x": x, "y": y} for x, y in cut((inputs, targets), 9)],
    )
    run = ls.train(objective, "adam", lr=0.05, epochs=20, batch=7, path=tmp_path / "run.h5")
    assert run.steps[-1] == 20 * 4 and run.losses[-1] < 0.7 * run.losses[0]
