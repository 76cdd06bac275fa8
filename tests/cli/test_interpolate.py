"""`landscape interpolate` and `landscape connectivity` as a user types them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.cli import run

SOURCE = """
import torch
import landscape as ls

def build(seed=0, width=4, test=False):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 2))
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1 + test))
    accuracy = lambda output, target: (output.argmax(1) == target).double().mean()
    return ls.Objective(network, torch.nn.functional.cross_entropy, (x, (x.prod(1) > 0).long()),
                        metrics={"accuracy": accuracy})
"""
MINE = ["--objective", "mine.py:build"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two recorded runs of a zoo network, and three checkpoints of the user's network, the last wider."""
    folder = tmp_path_factory.mktemp("interpolate")
    (folder / "mine.py").write_text(SOURCE)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for seed in (0, 1):
            options = ["--seed", str(seed), "--epochs", "2", "--every", "1", "-o", f"run{seed}.h5"]
            assert run(["train", "--objective", "zoo:digits-mlp", "--set", "samples=200", *options]) == 0
        for seed, width in ((0, 4), (1, 4), (2, 5)):
            torch.manual_seed(seed)
            network = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 2))
            torch.save(network.state_dict(), f"{seed}.pt")
        Path("copy").mkdir()
        shutil.copy("0.pt", "copy/0.pt")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def in_that_folder(files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "path", list(sys.path))


def interpolate(*arguments):
    return run(["interpolate", "--points", "5", *arguments])


def test_runs_remember_their_objective_and_the_ends_have_their_losses(capsys, tmp_path):
    output = tmp_path / "line.h5"
    assert interpolate("run0.h5", "run1.h5", "-o", str(output)) == 0
    record, runs = ls.load(output), [ls.Trajectory(f"run{seed}.h5") for seed in (0, 1)]
    assert record.end_loss == pytest.approx([one.losses[-1] for one in runs], rel=1e-12)
    assert record.loss[[0, -1]] == pytest.approx(record.end_loss, rel=1e-6)
    assert record.end_names.tolist() == ["run0", "run1"]
    assert record.distance == pytest.approx(np.linalg.norm(runs[1][-1].theta.astype(float) - runs[0][-1].theta))
    assert output.with_suffix(".png").stat().st_size > 10000
    said = capsys.readouterr().out
    assert record.barrier == 0 and "barrier              none: the largest excess" in said and "landscape info" in said
    assert run(["info", str(output)]) == 0
    assert "loss and curvature on a path between two minima" in capsys.readouterr().out
    assert interpolate("run0.h5", "run1.h5", "-o", str(output)) == 0
    assert "already complete" in capsys.readouterr().out
    assert interpolate("run0.h5", "run1.h5", "--points", "4", "-o", str(output)) == 2
    assert "another configuration" in capsys.readouterr().err


def test_two_checkpoints_of_one_run(tmp_path):
    output = tmp_path / "along.h5"
    assert interpolate("run0.h5@0", "run0.h5", "--no-figure", "--margin", "0.5", "-o", str(output)) == 0
    record, recorded = ls.load(output), ls.Trajectory("run0.h5")
    assert record.end_loss == pytest.approx([recorded.losses[0], recorded.losses[-1]], rel=1e-12)
    assert record.end_names.tolist() == ["run0@0", "run0@-1"]
    assert record.s.tolist() == [-0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]


def test_spectra_test_data_and_a_curve_that_is_found_once(tmp_path, monkeypatch, capsys):
    output, kept = tmp_path / "curve.h5", tmp_path / "path.h5"
    arguments = ["0.pt", "1.pt", *MINE, "--path", "bezier", "--epochs", "3", "--align", "--spectra", "--tol", "0.2"]
    arguments += ["--test-set", "test=True", "--save-path", str(kept), "-o", str(output)]
    assert interpolate(*arguments) in (0, 3)
    record, control = ls.load(output), ls.load(kept)
    assert record.path == "bezier" and len(record.densities) == 5 and record.values.shape[0] == 5
    assert {"accuracy", "test_loss", "test_accuracy"} <= set(record.metrics)
    assert control.controls.shape == (1, record.n) and len(record.fit_loss) == len(control.fit_loss) > 0
    assert output.with_suffix(".png").stat().st_size > 10000

    capsys.readouterr()
    assert run(["info", str(kept)]) == 0 and "control points       1, of" in capsys.readouterr().out

    surface = tmp_path / "surface.h5"
    plane = ["--plane", "path", "--path", str(kept), "--resolution", "4", "--no-figure"]
    assert run(["surface", *MINE, *plane, "-o", str(surface)]) == 0
    there = ls.load(surface)
    assert set(there.anchor_names.tolist()) >= {"0", "1", "control"}
    assert there.anchor_loss[:2] == pytest.approx(record.end_loss, rel=1e-5)

    film = ["--frames", "3", "--size", "640x360", "-o", str(tmp_path / "walk.mp4")]
    assert run(["video", str(output), str(surface), *film]) == 0
    assert run(["video", str(output), str(surface), "--layout", "path", *film]) == 0
    assert "already complete" in capsys.readouterr().out
    assert run(["video", str(output), *film]) == 2  # the one there shows the plane, too
    assert run(["video", str(output), str(output), *film, "--overwrite"]) == 2
    assert "one path between two minima" in capsys.readouterr().err


def test_a_path_that_was_found_before_a_kill_is_not_found_again(tmp_path, monkeypatch):
    from landscape import interpolation

    class KilledError(Exception):
        pass

    def killed(*arguments, **options):
        raise KilledError

    whole, output = tmp_path / "whole.h5", tmp_path / "killed.h5"
    arguments = ["0.pt", "1.pt", *MINE, "--path", "polygon", "--epochs", "2", "--no-figure"]
    assert interpolate(*arguments, "-o", str(whole)) == 0
    with monkeypatch.context() as patched:
        patched.setattr(interpolation, "interpolate", killed)
        assert interpolate(*arguments, "-o", str(output)) == 1
    monkeypatch.setattr(ls.PolygonalPath, "fit", killed)
    assert interpolate(*arguments, "-o", str(output)) == 0
    assert np.array_equal(ls.load(whole).loss, ls.load(output).loss)
    assert not Path(f"{output}.state").exists()


def test_the_matrix_of_several_minima(tmp_path, capsys):
    output = tmp_path / "matrix.h5"
    assert run(["connectivity", "0.pt", "1.pt", "run0.h5", *MINE, "-o", str(output)]) == 2  # another model
    assert "0.weight" in capsys.readouterr().err
    torch.save({name: 2 * value for name, value in torch.load("0.pt").items()}, tmp_path / "twice.pt")
    files = ["0.pt", "1.pt", str(tmp_path / "twice.pt")]
    assert run(["connectivity", *files, *MINE, "--points", "3", "-o", str(output)]) == 0
    record = ls.load(output)
    assert record.point_names.tolist() == ["0", "1", "twice"]
    assert np.array_equal(record.barriers, record.barriers.T) and (np.diag(record.barriers) == 0).all()
    assert interpolate("0.pt", "1.pt", *MINE, "--points", "3", "--no-figure", "-o", str(tmp_path / "one.h5")) == 0
    assert record.barriers[0, 1] == pytest.approx(ls.load(tmp_path / "one.h5").barrier, rel=1e-9)
    assert output.with_suffix(".png").stat().st_size > 10000
    assert "highest barrier" in capsys.readouterr().out
    curved = ["--path", "bezier", "--epochs", "2", "--align", "--restarts", "2", "--points", "3", "--no-figure"]
    assert run(["connectivity", *files[:2], *MINE, *curved, "-o", str(tmp_path / "curved.h5")]) == 0
    asked = ls.load(tmp_path / "curved.h5").provenance["configuration"]
    assert (asked["restarts"], asked["epochs"]) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0.pt", "nothing.pt", *MINE], "nothing.pt"),
        (["0.pt", "0.pt", *MINE], "given twice"),
        (["0.pt", "./0.pt", *MINE], "given twice"),
        (["0.pt", "copy/0.pt", *MINE], "same point"),
        (["0.pt", "2.pt", *MINE], r"0.weight"),
        (["0.pt", "1.pt"], "no objective is given"),
        (["run0.h5@99", "run1.h5"], "run0.h5@99: the run has"),
        (["0.pt", "1.pt", *MINE, "--path", "zigzag"], "--path is 'zigzag'"),
        (["0.pt", "1.pt", *MINE, "--epochs", "3"], "--epochs belongs to --path bezier or cubic or polygon"),
        (["0.pt", "1.pt", *MINE, "--restarts", "3"], "--restarts belongs to --align"),
        (["0.pt", "1.pt", *MINE, "--tol", "0.1"], "--spectra"),
        (["0.pt", "1.pt", *MINE, "--points", "1"], "--points is 1"),
        (["0.pt", "1.pt", *MINE, "--batchnorm", "batch"], "--batchnorm is 'batch'"),
        (["0.pt", "1.pt", *MINE, "--beside", "run0.h5"], "run0.h5"),
    ],
)
def test_wrong_input_is_explained(arguments, message, tmp_path, capsys):
    assert interpolate(*arguments, "-o", str(tmp_path / "x.h5")) == 2
    assert message in capsys.readouterr().err


def test_a_single_minimum_and_other_ways_are_refused(tmp_path, capsys):
    assert run(["connectivity", "0.pt", *MINE, "-o", str(tmp_path / "x.h5")]) == 2
    assert "at least two minima" in capsys.readouterr().err
    assert run(["connectivity", "0.pt", "1.pt", *MINE, "--path", "cubic", "-o", str(tmp_path / "x.h5")]) == 2
    assert "linear or bezier" in capsys.readouterr().err
