"""Objectives by name: found where the user put them, or a message that says where we looked."""

from __future__ import annotations

import sys

import pytest

from landscape.cli.objective_source import load_objective
from landscape.errors import InputError

SOURCE = """
import torch
import landscape as ls
from neighbour import WIDTH

def build(seed=0, samples=None):
    torch.manual_seed(seed)
    data = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(1)), torch.zeros(12, 1)
    return ls.Objective(torch.nn.Linear(WIDTH, 1), torch.nn.MSELoss(), data, samples=samples)

def other():
    return 3

def narrow(width=1):
    return build(torch.nn.Linear(width, 1))

def broken():
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mine.py").write_text(SOURCE)
    (tmp_path / "lib" / "neighbour.py").write_text("WIDTH = 3\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "mine.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mine", "neighbour", "package")]:
        del sys.modules[name]


def test_file_module_and_zoo():
    assert load_objective("lib/mine.py:build", {"samples": 5}).samples == 5
    assert load_objective("package.mine:build", {}).n in (4, 5)  # by the neighbour that was imported first
    trained = load_objective("zoo:digits-mlp", {"samples": 50}, trained=False)
    assert trained.n == 2454


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("digits-cnn", {}, r"write zoo:NAME, FILE\.py:function or module:function"),
        ("zoo:digits-cn", {}, "digits-cnn"),
        ("zoo:digits-mlp", {"colour": 1}, "no argument colour"),
        ("gone.py:build", {}, r"there is no file .*gone\.py"),
        ("gone.mine:build", {}, "there is no module gone"),
        ("lib/mine.py:biuld", {}, "has no function biuld; did you mean build"),
        ("lib/mine.py:xyz", {}, "has no function xyz; it has build, other, narrow, broken"),
        ("lib/mine.py:build", {"width": 3}, r"takes \(seed=0, samples=None\), but with --set: .*'width'"),
        ("lib/mine.py:build", {"device": "cpu"}, "to use --device, let it take that argument"),
        ("lib/mine.py:other", {}, r"returned a int; it must return a landscape\.Objective"),
    ],
)
def test_bad_sources(source, arguments, message):
    with pytest.raises(InputError, match=message):
        load_objective(source, arguments)


def test_a_failing_function_is_one_message_with_the_line_of_the_user():
    with pytest.raises(InputError, match=r"lib/mine\.py:narrow\(width='abc'\) failed: TypeError: .*mine\.py:15\)$"):
        load_objective("lib/mine.py:narrow", {"width": "abc"})


def test_errors_of_the_user_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        load_objective("lib/mine.py:broken", {})
