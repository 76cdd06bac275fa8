"""The demo: from an empty folder to a figure, and again without repeating the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import landscape
from landscape import parallel
from landscape.cli import demo, run
from landscape.errors import InputError


def test_without_mpi_it_goes_on_alone(tmp_path, monkeypatch, capsys):
    def no_mpiexec(ranks):
        raise InputError("there is no mpiexec")

    commands = []

    def remember(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(parallel, "mpiexec_command", no_mpiexec)
    monkeypatch.setattr(demo.subprocess, "run", remember)
    (tmp_path / "digits-cnn.safetensors").write_bytes(b"trained before")
    assert run(["demo", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert "there is no mpiexec; going on with a single process" in said.err
    assert f"Look at {tmp_path / 'spectrum.png'}" in said.out
    assert f"landscape info {tmp_path / 'spectrum.h5'}" in said.out
    assert commands[0][:4] == [sys.executable, "-m", "landscape", "spectrum"]


def test_it_is_not_for_mpiexec_and_needs_a_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    assert run(["demo", str(tmp_path / "file")]) == 2
    assert "cannot write into the folder" in capsys.readouterr().err
    monkeypatch.setenv("PMI_SIZE", "2")
    assert run(["demo", str(tmp_path)]) == 2
    assert "run it without mpiexec" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.mpi
def test_from_nothing_to_a_figure(tmp_path):
    folder = tmp_path / "my demo"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "landscape", "demo", folder], cwd=Path(landscape.__file__).parents[1],
            capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"Look at {folder / 'spectrum.png'}" in done.stdout.splitlines()[-1]
    assert "trained already" in done.stdout
    assert "already complete" in done.stdout
    assert {path.name for path in folder.iterdir()} == {"digits-cnn.safetensors", "spectrum.h5", "spectrum.png"}
    density = landscape.load(folder / "spectrum.h5")
    assert density.converged
    assert density.provenance["grid"]["ranks"] == 2
