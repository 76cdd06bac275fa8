"""`landscape surface` as a user types it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.cli import run
from landscape.cli.summaries.surface import surface_in_words
from landscape.parallel import mpiexec_command

SOURCE = """
import torch
import landscape as ls

def build(seed=0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
    return ls.Objective(network, torch.nn.functional.cross_entropy, (x, (x.sum(1) > 0).long()))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A recorded run of a zoo network, one of the user's, eigenpairs, and three checkpoints."""
    folder = tmp_path_factory.mktemp("surface")
    (folder / "mine.py").write_text(SOURCE)
    before = Path.cwd()
    os.chdir(folder)
    path = list(sys.path)
    try:
        small = ["--set", "samples=200"]
        assert (
            run(["train", "--objective", "zoo:digits-mlp", *small, "--epochs", "2", "--every", "1", "-o", "run.h5"])
            == 0
        )
        assert run(["train", "--objective", "mine.py:build", "--epochs", "3", "--batch", "8", "-o", "mine.h5"]) == 0
        pairs = ["eigenpairs", "--checkpoint", "run.h5", "-k", "2", "--tol", "0.05", "--no-figure"]
        assert run([*pairs, "-o", "pairs.h5"]) in (0, 3)
        assert run([*pairs, "--which", "both", "-o", "both.h5"]) in (0, 3)
        for seed in range(3):
            network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
            torch.save(network.state_dict(), f"{seed}.pt")
    finally:
        os.chdir(before)
        sys.path[:] = path
    return folder


@pytest.fixture(autouse=True)
def in_that_folder(files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "path", list(sys.path))


def surface(*arguments):
    return run(["surface", "--resolution", "4", *arguments])


def test_the_plane_of_a_run_that_remembers_its_objective(capsys, tmp_path):
    output = tmp_path / "surface.h5"
    assert surface("--run", "run.h5", "-o", str(output)) == 0
    said = capsys.readouterr().out
    record, recorded = ls.load(output), ls.Trajectory("run.h5")
    assert np.array_equal(record.path_loss, recorded.losses)
    assert record.provenance["asked"]["plane"] == "pca"
    assert output.with_suffix(".png").stat().st_size > 10000
    for text in (
        "principal components",
        "random walks of the same step lengths",
        "4 × 4 points",
        f"{recorded.losses[-1]:.6g}",
    ):
        assert text in said
    assert surface("--run", "run.h5", "-o", str(output)) == 0
    assert "already complete" in capsys.readouterr().out
    assert surface("--run", "run.h5", "-o", str(output), "--margin", "1") == 2
    assert "margin: 0.25 there, 1.0 now" in capsys.readouterr().err
    assert run(["info", str(output)]) == 0
    assert "loss surface on a plane" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "kind", "axes"),
    [
        (["--run", "run.h5", "--components", "1", "3", "--parameters", "weight"], "pca", ["pca_1", "pca_3"]),
        (["--pairs", "pairs.h5"], "eigenvectors", ["eigenvector_1", "eigenvector_2"]),
        (["--pairs", "pairs.h5", "--run", "run.h5", "--plane", "eigenvectors"], "eigenvectors", None),
        (["--pairs", "both.h5", "--components", "1", "-1"], "eigenvectors", ["eigenvector_1", "eigenvector_n"]),
        (["--pairs", "pairs.h5", "--plane", "gradient"], "gradient", ["gradient", "eigenvector_1"]),
        (["--run", "run.h5", "--plane", "random", "--normalize", "layer"], "random", None),
        (["--plane", "random", "--run", "run.h5", "--seed", "3"], "random", ["random_1", "random_2"]),
        (["--checkpoint", "run.h5", "--at", "4"], "random", None),
        (["--objective", "mine.py:build", "--checkpoints", "0.pt", "1.pt", "2.pt"], "points", ["a to b", "across"]),
        (["--objective", "mine.py:build", "--checkpoints", "0.pt", "mine.h5", "2.pt"], "points", None),
        (["--run", "mine.h5", "--objective", "mine.py:build", "--plane", "random"], "random", None),
        (["--objective", "mine.py:build", "--set", "seed=1"], "random", None),
    ],
)
def test_every_kind_of_plane(arguments, kind, axes, tmp_path, capsys):
    output = tmp_path / "surface.h5"
    assert surface(*arguments, "-o", str(output), "--no-figure") == 0, capsys.readouterr().err
    record = ls.load(output)
    assert record.plane == kind and np.isfinite(record.loss).all()
    if axes is not None:
        assert record.axes.tolist() == axes
    assert len(record.path_names) == arguments.count("--run")
    assert not output.with_suffix(".png").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "run.h5", "--resolution", "1"], "at least 2 along each axis"),
        (["--run", "run.h5", "--resolution", "4x5x6"], "as 61x41"),
        (["--run", "run.h5", "--resolution", "many"], "as 61x41"),
        (["--plane", "pca"], "--plane pca needs --run"),
        (["--plane", "eigenvectors", "--run", "run.h5"], "needs --pairs"),
        (["--plane", "sphere"], "--plane is 'sphere'"),
        (["--run", "run.h5", "--plane", "pca", "--seed", "1"], "--seed belongs to --plane random"),
        (["--run", "run.h5", "--pairs", "pairs.h5", "--plane", "pca"], "--pairs belongs to --plane eigenvectors"),
        (["--run", "run.h5", "--components", "1", "1"], "two different numbers"),
        (["--run", "run.h5", "--components", "1", "-1"], "two different numbers from 1 on, not"),
        (["--pairs", "pairs.h5", "--components", "0", "1"], "from 1 on, or from -1 (the last)"),
        (["--run", "run.h5", "--normalize", "layer"], "--normalize belongs to --plane random"),
        (["--plane", "random", "--run", "run.h5", "--normalize", "row"], "--normalize is 'row'"),
        (["--plane", "gradient", "--run", "run.h5"], "--plane gradient needs --pairs"),
        (["--run", "run.h5", "--quantity", "sharpness"], "sharpness is unknown; there are gradient_norm, lambda_max"),
        (["--run", "run.h5", "--batchnorm", "train"], "--batchnorm is 'train'"),
        (["--run", "run.h5", "--test", "zoo:digits-cnn"], "the test objective"),
        (["--run", "run.h5", "--test-set", "7"], "--test-set 7: write --test-set name=value"),
        (["--run", "run.h5", "--resolution", "300000"], "would fit"),
        (["--run", "run.h5", "--components", "1", "99"], "component 99 does not exist"),
        (["--run", "run.h5", "--parameters", "conv"], "chooses none of"),
        (["--run", "run.h5", "--margin", "-1"], "--margin is"),
        (["--run", "none.h5"], "none.h5"),
        (["--run", "mine.h5"], "say --objective mine.py:build"),
        (["--pairs", "run.h5"], "holds no eigenpairs"),
        (["--run", "run.h5", "--objective", "mine.py:build"], "of different models"),
        (["--objective", "mine.py:build", "--checkpoints", "0.pt", "0.pt", "1.pt"], "span no plane"),
        (["--run", "run.h5", "--checkpoint", "run.h5"], "--checkpoint is the middle of a random plane"),
        ([], "no objective is given"),
    ],
)
def test_what_cannot_work_is_said_with_exit_code_2(arguments, message, tmp_path, capsys):
    assert surface(*arguments, "-o", str(tmp_path / "surface.h5")) == 2
    said = capsys.readouterr()
    assert message in said.err and not said.out
    assert not (tmp_path / "surface.h5").exists()


def start(*arguments, ranks=0):
    command = [*(mpiexec_command(ranks) if ranks else []), sys.executable, "-m", "landscape", "surface", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(Path(ls.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_surface_is_finished_with_the_same_content(tmp_path, capsys, faults):
    options = ["--run", "run.h5", "--resolution", "24", "--no-figure"]
    assert run(["surface", *options, "-o", str(tmp_path / "whole.h5")]) == 0
    whole = ls.load(tmp_path / "whole.h5")
    for fault in range(faults):
        output = tmp_path / f"{fault}.h5"
        process = start(*options, "--checkpoint-seconds", "0", "-o", str(output))
        state = tmp_path / f"{fault}.h5.state"
        wanted = int(np.random.default_rng(fault).integers(1, 150))
        while process.poll() is None and len(list(state.glob("segment-*.h5"))) < wanted:
            time.sleep(0.005)
        assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not output.exists()
        assert run(["info", str(state)]) == 0
        assert "points done" in capsys.readouterr().out
        assert run(["surface", *options, "-o", str(output)]) == 0
        found = ls.load(output)
        assert found.provenance["resumed_points"] >= wanted
        for name in ("x", "y", "loss", "path_loss", "path_projected_loss", "path_distance", "anchor_loss"):
            assert np.array_equal(getattr(found, name), getattr(whole, name)), name
        assert not state.exists()


def test_everything_that_can_be_computed_beside_the_loss(tmp_path, capsys):
    output = tmp_path / "surface.h5"
    options = ["--pairs", "pairs.h5", "--quantity", "gradient_norm", "--quantity", "lambda_max"]
    options += ["--test-set", "samples=90"]
    assert surface(*options, "-o", str(output)) == 0, capsys.readouterr().err
    said, record = capsys.readouterr().out, ls.load(output)
    assert list(record.metrics) == [
        "accuracy", "test_loss", "test_accuracy", "gradient_norm", "lambda_max", "lambda_max_residual"
    ]  # fmt: skip
    assert record.metrics["test_loss"].shape == record.loss.shape == record.model.shape == (4, 4)
    assert not np.allclose(record.metrics["test_loss"], record.loss)
    for text in ("λ = ", "gradient_norm", "quadratic model", "test_loss"):
        assert text in said
    assert record.provenance["asked"]["test_set"]["samples"] == 90


def test_a_picture_of_few_points(tmp_path, capsys):
    options = ["--run", "run.h5", "--adaptive", "--resolution", "45", "-o", str(tmp_path / "surface.h5")]
    assert surface(*options) == 0, capsys.readouterr().err
    said, record = capsys.readouterr().out, ls.load(tmp_path / "surface.h5")
    assert record.evaluated.mean() < 0.4 and "interpolated" in said and "% that were computed" in said
    assert surface(*options) == 0 and "already complete" in capsys.readouterr().out
    assert surface(*[option for option in options if option != "--adaptive"]) == 2
    assert "adaptive: True there" in capsys.readouterr().err


def test_a_line(tmp_path, capsys):
    output = tmp_path / "profile.h5"
    line = ["profile", "--pairs", "pairs.h5", "--axis", "2", "--points", "7", "-o", str(output)]
    assert run(line) == 0, capsys.readouterr().err
    said, record = capsys.readouterr().out, ls.load(output)
    assert record.axis == "eigenvector_2" and len(record.loss) == 7 and record.samples.shape == (50, 7)
    for text in ("eigenvector 2 of the Hessian", "curvature", "standard error of the mean", "loss at origin"):
        assert text in said
    assert output.with_suffix(".png").stat().st_size > 10000
    assert run(line) == 0 and "already complete" in capsys.readouterr().out
    assert run(["info", str(output)]) == 0 and "loss along a line" in capsys.readouterr().out
    for wrong, message in ((["--axis", "3"], "--axis is 3"), (["--extent", "1", "0"], "extent must be")):
        assert run([*line[:3], *wrong, "-o", str(tmp_path / "b.h5")]) == 2
        assert message in capsys.readouterr().err
    through = ["profile", "--objective", "mine.py:build", "--checkpoints", "0.pt", "1.pt", "2.pt", "--no-figure"]
    assert run([*through, "-o", str(tmp_path / "c.h5")]) == 0
    assert ls.load(tmp_path / "c.h5").anchor_names.tolist() == ["a", "b"]


@pytest.mark.mpi
def test_two_ranks_write_the_same_surface(tmp_path):
    options = ["--run", "run.h5", "--resolution", "7", "--no-figure"]
    for ranks in (0, 2):
        process = start(*options, "-o", str(tmp_path / f"{ranks}.h5"), ranks=ranks)
        output, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert output.count("result") == 1
    one, two = (ls.load(tmp_path / f"{ranks}.h5") for ranks in (0, 2))
    assert np.array_equal(one.loss, two.loss) and np.array_equal(one.path_loss, two.path_loss)
    assert two.provenance["grid"]["ranks"] == 2


def test_words_say_what_a_picture_could_hide():
    record = ls.Surface(
        x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0, 2.0]), loss=np.array([[3.0, 2.0], [2.0, 1.0], [4.0, 2.0]]),
        plane="pca", explained_variance=np.array([0.9, 0.05]), parameters="1.*", batchnorm="none",
        path_names=np.array(["SGD"]), path_run=np.zeros(2, np.int64), path_step=np.array([0, 5]),
        path_coordinates=np.zeros((2, 2)), path_loss=np.array([2.0, 1.0]), path_projected_loss=np.array([2.0, 1.0]),
        path_recorded_loss=np.array([2.0, 1.2]), path_distance=np.zeros(2),
        provenance={"runs_of_an_objective": ["SGD"]},
    )  # fmt: skip
    text = "\n".join(surface_in_words(record))
    assert "90 % + 5 % of the runs' (of the parameters 1.*)" in text
    assert "1 at (1, 1) (on the edge of the grid: lower ones may lie outside)" in text
    assert "run SGD, step 5: the recorded loss is 1.2, this objective's 1: another function, or other data" in text
    assert "batch norm" not in text
    of_a_loop = dataclasses.replace(record, provenance={}, batchnorm="eval")
    assert "WARNING" not in "\n".join(surface_in_words(of_a_loop))
    assert "batch norm" in "\n".join(surface_in_words(of_a_loop))
