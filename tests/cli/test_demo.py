"""The demo: from an empty folder to videos and a page, and again without repeating the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as imageio
import pytest

import landscape
from landscape import parallel
from landscape.cli import demo, run
from landscape.errors import InputError


def test_without_mpi_it_goes_on_alone_and_a_failure_ends_it(tmp_path, monkeypatch, capsys):
    def no_mpiexec(ranks):
        raise InputError("there is no mpiexec")

    commands = []

    def remember(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1 if "video" in command else 3)

    monkeypatch.setattr(parallel, "mpiexec_command", no_mpiexec)
    monkeypatch.setattr(demo, "subprocess", SimpleNamespace(run=remember))
    assert run(["demo", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "there is no mpiexec; going on with a single process" in said.err
    assert "Done" not in said.out
    assert all(command[:3] == [sys.executable, "-m", "landscape"] for command in commands)
    expected = ["train"] * 2 + ["spectrum", "eigenpairs"] * 2 + ["surface", "video"]
    assert [command[3] for command in commands] == expected


def test_it_is_not_for_mpiexec_and_needs_a_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    assert run(["demo", str(tmp_path / "file")]) == 2
    assert "cannot write into the folder" in capsys.readouterr().err
    monkeypatch.setenv("PMI_SIZE", "2")
    assert run(["demo", str(tmp_path)]) == 2
    assert "run it without mpiexec" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.mpi
def test_from_nothing_to_a_video(tmp_path):
    folder = tmp_path / "my demo"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "landscape", "demo", folder], cwd=Path(landscape.__file__).parents[1],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=290,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"Open {folder / 'report.html'}" in done.stdout.splitlines()[-1]
    assert done.stdout.count("already complete") == len(list(demo.plan(folder)))
    assert not [path for path in folder.iterdir() if path.suffix == ".state" or path.name.startswith(".")]
    density = landscape.load(folder / "spectrum.h5")
    assert density.converged
    assert density.provenance["grid"]["ranks"] == 2
    surface = landscape.load(folder / "surface.h5")
    assert [path.name for path in surface.paths] == ["SGD", "ProxSGD"]
    facts = imageio.improps(folder / "landscape.mp4", plugin="FFMPEG")
    assert facts.shape[1:] == (1080, 1920, 3)
    assert imageio.immeta(folder / "landscape.mp4", plugin="FFMPEG")["duration"] * 30 >= 150
    assert imageio.improps(folder / "flyover.mp4", plugin="FFMPEG").shape[1:] == (720, 1280, 3)
    for name in ("spectrum.png", "eigenpairs.png", "eigenvalues.png", "surface.png", "report.html"):
        assert (folder / name).stat().st_size > 10_000
    for file in folder.glob("*.h5"):
        assert run(["info", str(file)]) == 0
