"""`landscape train` as a user types it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from landscape import zoo
from landscape.cli import run
from landscape.cli.objective_source import load_objective
from tests.mpi_jobs import ROOT, run_ranks

SOURCE = """
import time, os
import torch
import landscape as ls

def build(seed=0, slow=0.0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
    x = torch.randn(96, 3, generator=torch.Generator().manual_seed(1))
    pause = float(os.environ.get("PAUSE", 0))
    def loss(output, target):
        time.sleep(pause)
        return torch.nn.functional.cross_entropy(output, target)
    return ls.Objective(network.eval(), loss, (x, (x.sum(1) > 0).long()))
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine.py").write_text(SOURCE)
    yield
    sys.modules.pop("mine", None)


def train(*arguments, source="mine.py:build"):
    return run(["train", "--objective", source, *arguments])


def test_it_records_what_the_library_records_and_says_it(capsys):
    options = ["--optimizer", "prox-sgd", "--lr", "0.5", "--optimizer-set", "l1=0.01", "--optimizer-set", "curvature=1"]
    assert train(*options, "--epochs", "6", "--batch", "32", "--every", "2", "--seed", "3", "-o", "mine.h5") == 0
    said = capsys.readouterr()
    recorded = ls.Trajectory("mine.h5")
    objective = load_objective("mine.py:build", {})
    again = ls.train(
        objective, "prox_sgd", lr=0.5, options={"l1": 0.01, "curvature": 1}, epochs=6, batch=32, every=2, seed=3
    )
    assert recorded.digest() == again.digest() and recorded.complete and recorded.steps[-1] == 19
    zeros = int((recorded[-1].theta == 0).sum())
    assert zeros > 0 and f"({zeros} of 50)" in said.out
    assert f"{recorded.losses[-1]:.6g} at step 19" in said.out and "landscape info mine.h5" in said.out
    assert "50 parameters, 96 samples, 1 rank" in said.err
    assert recorded.provenance["objective"] == "mine.py:build" and recorded.provenance["asked"]["seed"] == 3
    assert not Path("mine.h5.state").exists() and not Path("mine.png").exists()


def test_a_network_of_the_zoo_starts_untrained_and_is_found_again(capsys):
    arguments = ["--set", "samples=100", "--epochs", "2", "--batch", "50", "--lr", "0.2"]
    assert train(*arguments, source="zoo:digits-mlp") == 0
    said = capsys.readouterr().out
    recorded = ls.Trajectory("train.h5")
    objective = zoo.build("digits-mlp", epochs=0, samples=100)
    assert recorded.losses[0] == objective.loss() and recorded.losses[-1] == objective.at(recorded[-1]).loss()
    found = objective.at(recorded[-1]).evaluate()["accuracy"]
    assert f"accuracy             {objective.evaluate()['accuracy']:.6g} at step 0, {found:.6g} at step 4" in said
    assert recorded.provenance["set"] == {"epochs": 0, "samples": 100}
    assert run(["train", "--checkpoint", "train.h5", "--at", "1", "--epochs", "1", "-o", "more.h5"]) == 0
    assert np.array_equal(ls.Trajectory("more.h5")[0].theta, recorded[1].theta)


def test_the_same_again_is_complete_and_another_is_refused(capsys):
    assert train("--epochs", "2") == 0
    before = Path("train.h5").read_bytes()
    capsys.readouterr()
    assert train("--epochs", "2") == 0
    assert "already complete: train.h5" in capsys.readouterr().out
    assert train("--epochs", "2", "--lr", "0.3", "--optimizer-set", "momentum=0.9") == 2
    error = capsys.readouterr().err
    assert "lr: None there, 0.3 now" in error and "optimizer_set.momentum: None there, 0.9 now" in error
    assert "--overwrite" in error and Path("train.h5").read_bytes() == before
    assert train("--epochs", "2", "--lr", "0.3", "--overwrite") == 0
    assert ls.Trajectory("train.h5").learning_rates[0] == 0.3


def test_a_job_file_holds_the_options_of_the_optimizer(capsys):
    Path("job.toml").write_text(
        'objective = "mine.py:build"\noptimizer = "sgd"\nepochs = 1\n[optimizer-set]\nmomentum = 0.9\nnesterov = true\n'
    )
    assert run(["train", "--job", "job.toml", "--optimizer-set", "momentum=0.8", "--name", "mine"]) == 0
    recorded = ls.Trajectory("train.h5")
    defaults = recorded.optimizer["defaults"]
    assert (defaults["momentum"], defaults["nesterov"], recorded.name) == (0.8, True, "mine")
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer", "sdg"], "unknown optimizer 'sdg'; choose one of sgd, adam"),
        (["--optimizer-set", "momentun=0.9"], "sgd has no option momentun; it has lr, momentum, dampening"),
        (
            ["--optimizer-set", "momentum"],
            "write --optimizer-set name=value, where name is an argument of the optimizer",
        ),
        (["--optimizer", "prox_sgd", "--lr", "9"], "lr=9 gives eps_t = 4.5 at step 0"),
        (["--lr", "0"], "--lr is 0.0, but it should be greater than 0"),
        (["--epochs", "0"], "--epochs is 0, but it should be greater than or equal to 1"),
        (["--batch", "97"], "batch=97, but the data has 96 samples"),
    ],
)
def test_bad_input_is_explained(arguments, message, capsys):
    assert train(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("train.h5").exists()


def test_a_diverging_training_fails_and_keeps_what_it_has(capsys):
    assert train("--lr", "1e38", "--epochs", "30", "--every", "1") == 1
    error = capsys.readouterr().err
    assert "step" in error and "smaller lr" in error
    assert not ls.Trajectory("train.h5").complete


def test_a_killed_command_goes_on_with_the_same_bits(faults, capsys):
    arguments = ["--epochs", "40", "--batch", "32", "--every", "3", "--optimizer", "adam", "--lr", "0.01"]
    assert train(*arguments, "-o", "whole.h5") == 0
    command = [sys.executable, "-m", "landscape", "train", "--objective", "mine.py:build", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PAUSE": "0.01"}
    generator = random.Random(faults)
    for _ in range(faults):
        process = subprocess.Popen([*command, "--checkpoint-seconds", "0.05"], env=environment)
        while not Path("train.h5.state").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.7))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not ls.Trajectory("train.h5").complete
    capsys.readouterr()
    assert train(*arguments) == 0
    whole, resumed = ls.Trajectory("whole.h5"), ls.Trajectory("train.h5")
    assert whole.digest() == resumed.digest() and np.array_equal(whole.losses, resumed.losses) and resumed.complete
    assert not Path("train.h5.state").exists()


@pytest.mark.mpi
def test_several_ranks_are_refused():
    arguments = ["-m", "landscape", "train", "--objective", "zoo:digits-mlp", "--epochs", "1"]
    job = run_ranks(2, arguments, folder=Path.cwd())
    assert job.returncode == 2
    assert job.stderr.count("training runs in one process, but there are 2 ranks") == 1
    assert not Path("train.h5").exists()
