"""Optimizers by name: torch's, ours, and those of installed packages."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.optim import ProxSGD, build, names

PLUGIN = '''
import torch


class SignDescent(torch.optim.Optimizer):
    """Every parameter moves by lr against the sign of its gradient."""

    def __init__(self, params, lr, decay=1.0):
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None:
                    value.mul_(group["decay"]).sub_(value.grad.sign(), alpha=group["lr"])
        return loss


def not_an_optimizer(params):
    return params
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a tiny package as pip does: a module and a .dist-info folder on the path."""

    def package(name: str, entries: dict[str, str], source: str = PLUGIN) -> None:
        site = tmp_path / name
        information = site / f"{name}-1.0.dist-info"
        information.mkdir(parents=True)
        (site / f"{name}.py").write_text(source)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
        (information / "entry_points.txt").write_text(f"[landscape.optimizers]\n{lines}\n")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return package


def test_every_name_builds_an_optimizer_that_lowers_a_bowl() -> None:
    assert {"sgd", "adam", "adamw", "rmsprop", "lbfgs", "prox_sgd"} <= set(names())
    for name in names():
        model = nn.Linear(3, 1)

        def closure(model: nn.Module = model) -> torch.Tensor:
            model.zero_grad()
            loss = sum(value.square().sum() for value in model.parameters())
            loss.backward()
            return loss

        optimizer = build(name, model)
        assert isinstance(optimizer, torch.optim.Optimizer)
        before = closure().item()
        for _ in range(5):
            optimizer.step(closure)
        assert closure().item() < before, name


def test_defaults_options_and_spelling() -> None:
    values = [nn.Parameter(torch.ones(2))]
    assert build("sgd", values).defaults["lr"] == 0.1
    assert build("SGD", values, lr=0.3, momentum=0.9, nesterov=True).defaults["momentum"] == 0.9
    assert build("adam", values, betas=(0.8, 0.9)).defaults["betas"] == (0.8, 0.9)
    assert build("adam", values).defaults["lr"] == inspect.signature(torch.optim.Adam).parameters["lr"].default
    ours = build("prox-sgd", values, lr=0.2, l1=1e-3)
    assert type(ours) is ProxSGD and ours.defaults["lr"] == 0.2 and ours.param_groups[0]["l1"] == 1e-3


def test_of_a_module_only_the_matrices_are_regularized() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].bias.requires_grad_(False)
    groups = build("prox_sgd", model, l1=1e-3).param_groups
    assert [(len(group["params"]), group["l1"]) for group in groups] == [(2, 1e-3), (3, 0.0)]
    assert len(build("sgd", model).param_groups[0]["params"]) == 5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sdg", {}, "unknown optimizer 'sdg'; choose one of sgd, adam, .*prox_sgd"),
        ("sgd", {"momentun": 0.9}, "sgd has no option momentun; it has lr, momentum, dampening"),
        ("prox_sgd", {"mu": 1, "tau": 2}, "prox_sgd has no option mu, tau; it has lr, gradient_weight, schedule"),
        ("sgd", {"lr": -1.0}, "sgd refuses its options lr=-1.0: Invalid learning rate"),
        ("adam", {"betas": 3}, "adam refuses its options betas=3"),
        ("prox_sgd", {"l1": -1.0}, "l1 must be a finite number of at least 0"),
    ],
)
def test_unknown_names_and_options_are_listed(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ls.InputError, match=message):
        build(name, nn.Linear(2, 1), **options)


def test_an_installed_plug_in_is_found_by_its_name(install) -> None:
    install("sign_descent", {"sign-descent": "sign_descent:SignDescent"})
    assert "sign_descent" in names()
    values = nn.Parameter(torch.tensor([1.0, -1.0]))
    optimizer = build("sign_descent", [values], lr=0.25)
    values.grad = torch.tensor([3.0, -0.1])
    optimizer.step()
    assert values.tolist() == [0.75, -0.75]
    with pytest.raises(ls.InputError, match="sign_descent needs a value of lr"):
        build("sign_descent", [values])
    with pytest.raises(ls.InputError, match="has no option momentum; it has lr, decay"):
        build("sign_descent", [values], lr=1, momentum=0.9)
    with pytest.raises(ls.InputError, match=r"unknown optimizer 'x'.*sign_descent"):
        build("x", [values])


def test_an_objective_is_trained_by_an_installed_plug_in(install, tmp_path: Path) -> None:
    install("sign_descent", {"sign_descent": "sign_descent:SignDescent"})
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.ones_(model.weight)
    data = (torch.eye(2, dtype=torch.float64), torch.tensor([[10.0], [-10.0]], dtype=torch.float64))
    objective = ls.Objective(model, nn.MSELoss(), data)
    run = ls.train(objective, "sign_descent", lr=0.125, epochs=3, batch=2, every=1, path=tmp_path / "run.h5")
    # The gradient always points away from (10, −10).
    assert [run[index].theta.tolist() for index in range(4)] == [[1 + 0.125 * i, 1 - 0.125 * i] for i in range(4)]
    assert run.optimizer["class"] == run.name == "SignDescent" and run.optimizer["defaults"]["lr"] == 0.125


def test_broken_plug_ins_say_what_is_wrong(install) -> None:
    values = [nn.Parameter(torch.ones(2))]
    install("first_broken", {"missing": "first_broken:Nothing", "function": "first_broken:not_an_optimizer"})
    with pytest.raises(ls.InputError, match=r"'missing' of first_broken cannot be loaded from first_broken:Nothing"):
        build("missing", values)
    with pytest.raises(ls.InputError, match=r"which is no subclass of torch.optim.Optimizer"):
        build("function", values)
    install("second_broken", {"failing": "second_broken:Optimizer"}, "raise OSError('no license')")
    with pytest.raises(ls.InputError, match="OSError: no license"):
        build("failing", values)
    assert build("sgd", values)


def test_two_packages_with_one_name_are_told_apart(install) -> None:
    install("one_package", {"twice": "one_package:SignDescent", "sgd": "one_package:SignDescent"})
    install("other_package", {"twice": "other_package:SignDescent"})
    values = [nn.Parameter(torch.ones(2))]
    with pytest.raises(ls.InputError, match=r"'twice' is claimed by several packages: .*one_package"):
        build("twice", values, lr=0.1)
    assert type(build("sgd", values)) is torch.optim.SGD and names().count("sgd") == 1
