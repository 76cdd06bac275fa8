"""Reference objectives by name: trained well, sized for exact spectra, errors that name the way out."""

from __future__ import annotations

import math
import os

import pytest
import torch

from landscape import zoo
from landscape.errors import InputError


@pytest.mark.parametrize(
    ("name", "n"), [("digits-mlp", 2454), ("digits-cnn", 2770), ("digits-resnet", 2546)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_digits_are_learned(name, n, seed):
    objective = zoo.build(name, seed=seed)
    assert objective.n == n
    assert objective.evaluate()["accuracy"] >= 0.97
    assert abs(zoo.build(name, seed=seed, epochs=0).loss() - math.log(10)) < 0.5


def test_another_precision_and_decay():
    single = zoo.build("digits-mlp", epochs=1)
    double = zoo.build("digits-mlp", epochs=1, dtype="float64")
    assert double.theta.dtype == torch.float64
    assert torch.equal(double.theta.float(), single.theta)
    assert single.loss() == pytest.approx(double.loss(), rel=1e-6)
    decayed = zoo.build("digits-mlp", epochs=0, dtype="float64", weight_decay=0.1)
    plain = zoo.build("digits-mlp", epochs=0, dtype="float64")
    assert decayed.loss() - plain.loss() == pytest.approx(0.05 * float(plain.theta @ plain.theta), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digits", {}, "no 'digits'.*digits-mlp, digits-cnn, digits-resnet, mnist-mlp, characters"),
        ("digits-cnn", {"epoch": 3}, "no argument epoch; it has activation, epochs, seed"),
        ("digits-cnn", {"activation": "sine"}, "no activation 'sine'; choose one of relu"),
        ("digits-cnn", {"epochs": -1}, "epochs=-1"),
        ("digits-cnn", {"dtype": "half"}, "dtype='half'"),
        ("mnist-mlp", {"folder": "/no/such/folder"}, "folder='/no/such/folder' does not exist"),
        ("characters", {"path": "/no/such/text"}, "path='/no/such/text' does not exist"),
    ],
)
def test_errors_name_the_way_out(name, arguments, message):
    with pytest.raises(InputError, match=message):
        zoo.build(name, **arguments)


def test_characters_from_a_text(tmp_path):
    path = tmp_path / "text"
    path.write_text("to be or not to be " * 40)
    objective = zoo.build("characters", path=path, context=16, windows=32, epochs=60, micro_batch=8)
    untrained = zoo.build("characters", path=path, context=16, windows=32, epochs=0)
    assert objective.loss() < 0.5 * untrained.loss()


@pytest.mark.slow
@pytest.mark.skipif("LANDSCAPE_DATA" not in os.environ, reason="needs LANDSCAPE_DATA")
def test_the_ones_that_need_files():
    mnist = zoo.build("mnist-mlp")
    assert mnist.n == 25450
    assert mnist.loss() < 0.15
    assert zoo.build("characters").loss() < 2.6  # characters drawn by their frequency alone: 3.3
