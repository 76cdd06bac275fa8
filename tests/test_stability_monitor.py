"""The live monitor: right values, untouched training, and a budget that a fake clock can check exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import stability_monitor
from tests.cases import mlp, points
from tests.test_stability import LOSS, hessian_of


def train(monitor_options: dict | None, kind: str = "SGD", count: int = 12) -> tuple:
    model = mlp()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.05)
    monitor, sharpest = None, []
    if monitor_options is not None:
        monitor = ls.StabilityMonitor.of(model, LOSS, points(), optimizer, **monitor_options)
    for _ in range(count):
        inputs, targets = points()
        optimizer.zero_grad()
        loss = LOSS(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(loss)
            sharpest.append((hessian_of(model), model, optimizer))
    return model, monitor, sharpest


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_its_values_are_those_of_the_dense_matrix(kind: str) -> None:
    model = mlp()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.05)
    monitor = ls.StabilityMonitor.of(model, LOSS, points(), optimizer, every=3, tol=1e-3, most_products=43)
    exact = []
    for step in range(1, 13):
        inputs, targets = points()
        optimizer.zero_grad()
        loss = LOSS(model(inputs), targets)
        loss.backward()
        optimizer.step()
        monitor.step(loss)
        if step % 3 == 0:
            scale = ls.optimizer_view(monitor.objective.at(flat(model)), optimizer, model).scale
            matrix = hessian_of(model)
            matrix = matrix if scale is None else scale[:, None] * matrix * scale
            exact.append(float(torch.linalg.eigvalsh(matrix)[-1]))
    record = monitor.record()
    assert record.steps.tolist() == [3, 6, 9, 12]
    assert np.allclose(record.sharpness, exact, rtol=1e-5)
    assert (np.abs(record.sharpness - exact) <= record.residuals + 1e-12).all()
    corrected = 1 - 0.9**record.steps
    assert np.allclose(record.threshold, 40 if kind == "SGD" else corrected * 2 * 1.9 / (0.1 * 0.05))
    assert np.isfinite(record.losses).all() and (record.learning_rates == 0.05).all()
    # Warm starts: later measurements take fewer products than the first.
    assert monitor.rows[-1]["products"] < monitor.rows[0]["products"]


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().reshape(-1) for value in model.parameters()])


def test_the_training_is_the_same_with_it() -> None:
    alone, _, _ = train(None)
    model = mlp().train()
    state = torch.get_rng_state()
    watched, monitor, _ = train({"every": 2})
    assert torch.equal(flat(alone), flat(watched)) and torch.equal(state, torch.get_rng_state())
    assert len(monitor.rows) == 6 and model.training


class Clock:
    """Time that passes when training and products say so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("product", "overhead", "first"), [(0.03, 0.05, 1), (0.06, 0.05, 1), (0.002, 0.01, 1), (0.01, 0.05, 50)]
)
def test_the_budget_is_kept(product: float, overhead: float, first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(stability_monitor, "time", clock)
    apply_rows, gradient = ls.Hessian.apply_rows, ls.Objective.gradient
    costs = [first]

    def slow(self, shard, rows):
        clock.now += product * (costs.pop() if costs else 1)
        return apply_rows(self, shard, rows)

    def slow_gradient(self):
        clock.now += product / 2
        return gradient(self)

    monkeypatch.setattr(ls.Hessian, "apply_rows", slow)
    monkeypatch.setattr(ls.Objective, "gradient", slow_gradient)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    monitor = ls.StabilityMonitor.of(model, LOSS, points(), optimizer, overhead=overhead)
    shares = []
    for _ in range(4000):
        clock.now += 0.01
        monitor.step(0.0)
        shares.append(monitor.overhead)
    # The first product is begun before its cost is known; from when it is paid off, the share is kept at every step.
    paid = int(np.ceil(1.1 * (1 + first) * product / overhead / 0.01))
    assert max(shares[paid:]) <= overhead
    spent = sum(row["seconds"] for row in monitor.rows)
    assert len(monitor.rows) >= 1 and 0.5 * overhead * 40 <= spent <= overhead * 40
    assert all(row["seconds"] <= (30 + first) * product for row in monitor.rows)


def test_another_direction_that_becomes_the_sharpest_is_found() -> None:
    # Two decoupled parameters whose curvatures cross between the measurements; a start without the other direction
    # would stay where it was.
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(1.0))

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return data * (self.a**4 + self.b**4)

    model = Two().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    data = torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    monitor = ls.StabilityMonitor.of(model, lambda o, t: (o - t).mean(), data, optimizer, every=1, tol=1e-6)
    monitor.step()
    with torch.no_grad():
        model.a.fill_(1.0)
        model.b.fill_(3.0)
    monitor.step()
    assert [row["sharpness"] for row in monitor.rows] == pytest.approx([48.0, 108.0])


class Quadratic(nn.Module):
    """Half the sum of the squares of the parameters, weighted by a buffer: the Hessian is its diagonal."""

    def __init__(self, curvatures: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("curvatures", torch.from_numpy(curvatures).float())
        self.place = nn.Parameter(torch.ones(len(curvatures)))

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return data * (0.5 * self.curvatures * self.place.square()).sum()


@pytest.mark.parametrize("n", [3000, 200_000])
@pytest.mark.parametrize("bulk", ["narrow", "heavy"])
def test_a_new_sharpest_direction_is_found_from_the_eigenvector_of_the_old_one(bulk: str, n: int) -> None:
    # The residual of the old vector is small at once, whatever has become of the others.
    random = np.random.default_rng(0)
    curvatures = 0.02 * random.standard_normal(n) if bulk == "narrow" else 3 * random.random(n) ** 4
    for sharper in (11.0, 15.0, 30.0):
        curvatures[:6] = 10, 1, 6, 5, 4, 3
        model = Quadratic(curvatures)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
        data = torch.ones(2, 1), torch.zeros(2, 1)
        monitor = ls.StabilityMonitor.of(model, lambda o, t: (o - t).mean(), data, optimizer, every=1, tol=1e-5)
        monitor.step()
        monitor.tol = 0.05
        model.curvatures[1] = sharper
        monitor.step()
        first, second = monitor.rows
        assert first["sharpness"] == pytest.approx(10, rel=1e-4)
        assert second["sharpness"] == pytest.approx(sharper, rel=0.05)
        assert second["residual"] <= 0.05 * second["sharpness"]


def test_the_training_goes_on_when_there_is_nothing_to_measure() -> None:
    model = mlp()
    model.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    head = [{"params": model[0].parameters(), "lr": 0.0}, {"params": [*model[2].parameters(), model.unused], "lr": 0.0}]
    optimizer = torch.optim.Adam(head)
    monitor = ls.StabilityMonitor.of(model, LOSS, points(), optimizer, every=1)
    for rates in ((0.0, 0.0), (0.0, 0.05), (0.05, 0.05)):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        inputs, targets = points()
        optimizer.zero_grad()
        LOSS(model(inputs), targets).backward()
        optimizer.step()
        monitor.step()
    # A warm-up from 0, a head that begins before the rest, a parameter that has no gradient.
    assert [row["step"] for row in monitor.rows] == [2, 3]
    scale = ls.optimizer_view(monitor.objective.at(flat(model)), optimizer, model).scale[
        2:
    ]  # the unused ones come first
    used = mlp()
    used.load_state_dict({name: value for name, value in model.state_dict().items() if name != "unused"})
    exact = float(torch.linalg.eigvalsh(scale[:, None] * hessian_of(used) * scale)[-1])
    assert monitor.rows[-1]["sharpness"] == pytest.approx(exact, rel=0.01)
    good = flat(model)
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.warns(UserWarning, match=r"no sharpness at step 4: .*NaN"):
        monitor.step()
    monitor.step()  # Said once.
    torch.nn.utils.vector_to_parameters(good, model.parameters())
    monitor.step()
    assert [row["step"] for row in monitor.rows] == [2, 3, 6] and np.isfinite(monitor.rows[-1]["sharpness"])
    record = monitor.record()
    assert record.provenance["refused"] == 2 and "NaN" in record.provenance["refusal"]


def test_the_operator_is_named() -> None:
    model = mlp()
    for rates, decay, name in (
        ((0.1, 0.1), 0.0, "hessian"),
        ((0.1, 0.2), 0.0, "preconditioned hessian"),
        ((0.1, 0.1), 0.5, "hessian + 0.5"),
    ):
        groups = [
            {"params": part.parameters(), "lr": rate} for part, rate in zip((model[0], model[2]), rates, strict=True)
        ]
        optimizer = torch.optim.SGD(groups, weight_decay=decay)
        monitor = ls.StabilityMonitor.of(model, LOSS, points(), optimizer, every=1)
        monitor.step()
        assert monitor.record().operator == name


def test_an_optimizer_that_cannot_be_watched_is_refused_at_once() -> None:
    model = mlp()
    for optimizer, message in (
        (torch.optim.SGD(mlp().parameters(), lr=0.1), "does not move the parameter '0.weight'"),
        (torch.optim.Adam(model.parameters(), maximize=True), "the Adam maximizes"),
        (torch.optim.LBFGS(model.parameters()), "the step of LBFGS is not known"),
    ):
        with pytest.raises(ls.InputError, match=message):
            ls.StabilityMonitor.of(model, LOSS, points(), optimizer)


def test_the_record_is_saved_drawn_and_explained(tmp_path, capsys) -> None:
    from landscape.cli import run

    _, monitor, _ = train({"every": 2})
    record = monitor.record()
    path = record.save(tmp_path / "stability.h5")
    again = ls.load(path)
    assert np.array_equal(again.sharpness, record.sharpness) and again.rule == "2/lr"
    again.plot(tmp_path / "stability.png", title="mlp")
    assert (tmp_path / "stability.png").stat().st_size > 10_000
    assert run(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "sharpness along a training" in said and "sharpness/threshold" in said
    assert "above it the optimizer's steps grow on a quadratic" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, 'every must be "auto" or a whole number'),
        ({"overhead": 0.0}, "overhead must lie between 0 and 1"),
        ({"tol": 2}, "tol must lie between 0 and 1"),
        ({"most_products": 0}, "most_products must be at least 1"),
    ],
)
def test_wrong_requests_are_refused_in_words(options: dict, message: str) -> None:
    with pytest.raises(ls.InputError, match=message):
        train(options)
