"""The command report: files of any kind into one page, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from landscape import Recorder, cli
from tests.render.surface_cases import densities, surface


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A surface, a density and a recorded run of one network."""
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder("run.h5", model, optimizer, name="SGD") as recorder:
        for _ in range(3):
            loss = model(torch.ones(4, 2)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    surface(n=3).save("surface.h5")
    densities(1, n=2762)[0][1].save("spectrum.h5")
    return tmp_path


def test_a_page_and_the_same_again(folder, capsys):
    files = ["surface.h5", "run.h5", "./surface.h5"]
    assert cli.run(["report", *files, "--title", "A & B"]) == 0
    said = capsys.readouterr().out
    assert "surface.h5 is given twice and shown once" in said
    assert "2 results, " in said
    page = (folder / "report.html").read_bytes()
    assert b"<title>A &amp; B</title>" in page
    assert cli.run(["report", *files, "--title", "A & B"]) == 0
    assert "already complete: report.html" in capsys.readouterr().out
    assert cli.run(["report", "surface.h5"]) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert (folder / "report.html").read_bytes() == page
    assert cli.run(["report", "surface.h5", "--overwrite"]) == 0
    assert (folder / "report.html").read_bytes() != page
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_files_beside_the_page_stay_as_they_are(folder):
    assert cli.run(["report", "surface.h5"]) == 0
    (folder / ".report-new.html").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for arguments, code in ((["surface.h5"], 0), (["surface.h5", "--title", "other"], 2)):
        assert cli.run(["report", *arguments]) == code
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_networks_are_told_apart(folder, capsys):
    assert cli.run(["report", "surface.h5", "spectrum.h5", "-o", "both.html"]) == 0
    assert "networks of 3, 2762 parameters, a section each" in capsys.readouterr().out
    assert (folder / "both.html").read_text(encoding="utf-8").count("<h2>") == 2


def test_what_is_refused(folder, capsys):
    (folder / "text.h5").write_text("no result")
    for arguments, words in (
        ([], "no result is given"),
        (["missing.h5"], "missing.h5"),
        (["text.h5"], "text.h5"),
        (["surface.h5", "-o", "page.png"], "must end in .html"),
        (["surface.h5", "-o", "surface.h5"], "is one of the results"),
    ):
        assert cli.run(["report", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not (folder / "report.html").exists()
