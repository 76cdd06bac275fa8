"""`landscape export`."""

from __future__ import annotations

import pytest

from landscape.cli import run
from tests.render.surface_cases import densities, surface


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return surface().save(tmp_path / "both.h5")


def test_writes_both_files_and_recognizes_them(file, capsys):
    assert run(["export", str(file)]) == 0
    assert "both.vtp" in capsys.readouterr().out
    assert sorted(path.name for path in file.parent.iterdir()) == ["both.h5", "both.vtp", "both.vts"]
    assert run(["export", str(file)]) == 0
    assert "already complete" in capsys.readouterr().out


def test_something_else_is_not_replaced(file, capsys):
    assert run(["export", str(file), "--height", "flat"]) == 0
    assert run(["export", str(file)]) == 2
    assert "both.vts" in (said := capsys.readouterr().err)
    assert "--overwrite" in said
    assert run(["export", str(file), "--overwrite", "--metric", "accuracy", "--no-log"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["both.h5", "-o", "both.stl"], "must end in .vts"),
        (["both.h5", "--height", "tall"], "drawn, value, flat"),
        (["missing.h5"], "missing.h5"),
        (["density.h5"], "holds no surface"),
    ],
)
def test_bad_input(file, capsys, arguments, message):
    densities(1)[0][1].save(file.parent / "density.h5")
    assert run(["export", *arguments]) == 2
    assert message in capsys.readouterr().err
