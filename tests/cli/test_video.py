"""The command video: one file from one process, workers or ranks; what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from landscape import cli
from landscape.render.filming import read_configuration
from tests.mpi_jobs import run_ranks
from tests.render.surface_cases import densities, eigen_pairs, surface
from tests.render.test_film_layouts import eigenvalues, series

OPTIONS = ["--size", "640x360", "--frames", "11"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A surface and two densities, of which the first knows its step."""
    monkeypatch.chdir(tmp_path)
    surface().save(tmp_path / "surface.h5")
    for step, density in densities(2):
        provenance = {"step": 0} if step == 0 else {}
        replace(density, provenance=provenance).save(tmp_path / f"density-{step}.h5")
    return tmp_path


def test_a_video_and_the_same_again(folder, capsys):
    shown = ["--densities", "density-0.h5", "--densities", "100:density-100.h5"]
    assert cli.run(["video", "surface.h5", *shown, *OPTIONS]) == 0
    said = capsys.readouterr().out
    assert "11 frames of 640 × 360, 0.367 s" in said
    content = (folder / "video.mp4").read_bytes()
    shown_at = [text.partition(":")[0] for text in read_configuration(folder / "video.mp4")["densities"]]
    assert shown_at == ["0", "100"]

    assert cli.run(["video", "surface.h5", *shown, *OPTIONS, "--workers", "2"]) == 0
    assert "already complete: video.mp4 holds this very configuration" in capsys.readouterr().out
    assert cli.run(["video", "surface.h5", *OPTIONS]) == 2
    assert "holds the result of another configuration:\n  densities: ['0:" in capsys.readouterr().err
    assert cli.run(["video", "surface.h5", *OPTIONS, "--overwrite"]) == 0
    assert (folder / "video.mp4").read_bytes() != content
    assert cli.run(["video", "surface.h5", *shown, *OPTIONS, "-o", "new/other.mp4"]) == 0
    assert (folder / "new" / "other.mp4").read_bytes() == content
    names = {path.name for path in folder.iterdir()}
    assert names == {"surface.h5", "density-0.h5", "density-100.h5", "video.mp4", "new"}


@pytest.mark.mpi
def test_ranks_share_the_frames(folder, monkeypatch):
    assert cli.run(["video", "surface.h5", *OPTIONS, "-o", "one.mp4"]) == 0
    job = run_ranks(3, ["-m", "landscape", "video", "surface.h5", *OPTIONS, "-o", "three.mp4"], folder=folder).check()
    assert job.stdout.count("11 frames of") == 1
    assert "3 ranks" in job.stderr
    assert Path("three.mp4").read_bytes() == Path("one.mp4").read_bytes()
    job = run_ranks(2, ["-m", "landscape", "video", "surface.h5", *OPTIONS, "-o", "three.mp4"], folder=folder).check()
    assert job.stdout.count("already complete") == 1
    job = run_ranks(2, ["-m", "landscape", "video", "surface.h5", "--workers", "2", "-o", "x.mp4"], folder=folder)
    assert job.returncode == 2
    assert "share the frames already" in job.stderr
    assert not Path("x.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no surface is given: landscape video surface.h5"),
        (["nowhere.h5"], "nowhere.h5"),
        (["density-0.h5"], "density-0.h5 holds no surface; landscape surface computes one"),
        (
            ["surface.h5", "-o", "run.avi"],
            "cannot write a video to run.avi: the name must end in one of .mp4, .webm, .gif",
        ),
        (["surface.h5", "-o", "run.gif", "--fps", "60"], "at most 50 pictures per second of a GIF"),
        (["surface.h5", "--layout", "3d"], "there is no layout '3d'; choose one of:\n  trajectory "),
        (["surface.h5", "--layout", "spectrum"], "the layout spectrum needs eigenvalue densities"),
        (["surface.h5", "--eigenvalues", "pairs.h5"], "pairs.h5 holds no eigenvalues along a run"),
        (["surface.h5", "--size", "big"], "the size is 'big'; write width and height in pixels, as 1920x1080, or 720p"),
        (["surface.h5", "--size", "641x360"], "needs even numbers; give 642 × 360"),
        (["surface.h5", "--fps", "0"], "--fps is 0.0, but it should be greater than or equal to 1"),
        (["surface.h5", "--frames", "0"], "--frames is 0"),
        (["surface.h5", "--workers", "0"], "--workers is 0"),
        (["surface.h5", "--metric", "error"], "no metric 'error'; it has: accuracy"),
        (["surface.h5", "--densities", "surface.h5"], "surface.h5 holds no eigenvalue density"),
        (
            ["surface.h5", "--densities", "density-100.h5"],
            "does not say at which step; write it in front, as 100:density",
        ),
        (["surface.h5", "--densities", "1:density-0.h5", "--densities", "1:density-100.h5"], "belong to the same step"),
        (["surface.h5", "--densities", "1:small.h5"], "a network of 5 parameters, but the surface to one of 2762"),
        (
            ["surface.h5", "--densities", "400:density-0.h5"],
            "density-0.h5: a density at step 400 would not be shown: the",
        ),
        (["surface.h5", "--densities", "SGD:400:density-0.h5"], "the run SGD has steps 0 to 390"),
        (["surface.h5", "--densities", "Adam:1:density-0.h5"], "no run is called 'Adam'; the surface has SGD, ProxSGD"),
        (["still.h5"], "no recorded run, so nothing moves"),
    ],
)
def test_bad_input(folder, capsys, arguments, message):
    surface(runs=0).save(folder / "still.h5")
    replace(densities(1)[0][1], n=5).save(folder / "small.h5")
    eigen_pairs().save(folder / "pairs.h5")
    assert cli.run(["video", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "video.mp4").exists()


def test_runs_of_densities_and_the_title_by_default(folder):
    asked = {"asked": {"objective": "zoo:digits-mlp"}}
    replace(surface(), provenance=asked).save(folder / "surface.h5")
    shown = ["--densities", "SGD:density-0.h5", "--densities", "ProxSGD:100:density-100.h5"]
    assert cli.run(["video", "surface.h5", *shown, *OPTIONS]) == 0
    found = read_configuration(folder / "video.mp4")
    assert [text.rpartition(":")[2] for text in found["densities"]] == ["SGD", "ProxSGD"]
    assert found["title"] == "digits-mlp, 2762 parameters"
    assert cli.run(["video", "surface.h5", *OPTIONS, "--title", "", "-o", "bare.mp4"]) == 0
    assert read_configuration(folder / "bare.mp4")["title"] == ""


def test_a_foreign_file_is_not_replaced_by_accident(folder, capsys):
    (folder / "video.mp4").write_bytes(b"holiday")
    assert cli.run(["video", "surface.h5", *OPTIONS]) == 2
    assert "video.mp4 is no video of landscape; or pass --overwrite" in capsys.readouterr().err
    assert (folder / "video.mp4").read_bytes() == b"holiday"


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("layout", "name", "counts"),
    [("spectrum", "video.gif", (3,)), pytest.param("compare", "video.webm", (2, 3), marks=pytest.mark.slow)],
)
def test_every_layout_and_format_on_any_number_of_ranks(folder, layout, name, counts):
    series(3).save(folder / "series.h5")
    eigenvalues().save(folder / "eigenvalues.h5")
    files = {
        "spectrum": ["series.h5"],
        "compare": ["surface.h5", "--layout", "compare", "--eigenvalues", "eigenvalues.h5"],
    }[layout]
    arguments = ["video", *files, "--size", "640x360", "--frames", "5"]
    assert cli.run([*arguments, "-o", name]) == 0
    content = (folder / name).read_bytes()
    for ranks in counts:
        run_ranks(ranks, ["-m", "landscape", *arguments, "-o", f"{ranks}-{name}"], folder=folder).check()
        assert (folder / f"{ranks}-{name}").read_bytes() == content


def test_a_series_of_densities_and_sizes_by_name(folder, capsys):
    series(3).save(folder / "series.h5")
    few = ["--size", "720p", "--frames", "2"]
    assert cli.run(["video", "surface.h5", "--densities", "series.h5", *few]) == 0
    found = read_configuration(folder / "video.mp4")
    assert [text.partition(":")[0] for text in found["densities"]] == ["0", "100", "200"]
    assert found["size"] == "1280x720"
    assert cli.run(["video", "surface.h5", "--densities", "5:series.h5", *few, "-o", "other.mp4"]) == 2
    assert "holds a series, which knows its steps" in capsys.readouterr().err
    assert cli.run(["video", "surface.h5", "series.h5", *few, "-o", "other.mp4"]) == 2
    assert "series.h5 holds densities; give them with --densities" in capsys.readouterr().err
    assert cli.run(["video", "--densities", "series.h5", *few, "-o", "alone.gif"]) == 0
    assert "2 frames of 1280 × 720, 0.1 s" in capsys.readouterr().out
    replace(surface(), n=7).save(folder / "small.h5")
    assert cli.run(["video", "surface.h5", "small.h5", *few, "-o", "other.mp4"]) == 2
    assert "surface 2 does not belong to the first: its number of parameters is 7, not 2762" in capsys.readouterr().err
