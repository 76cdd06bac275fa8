"""Video files: what players need, the same bytes from any number of workers, whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landscape import render
from landscape.errors import ComputeError, InputError
from landscape.render.encoder import VideoFile, encoder, read_comment
from landscape.render.filming import comment_of, configuration, read_configuration, record_digest
from tests.render.surface_cases import densities, surface

ROOT = Path(__file__).parents[2]
SMALL = {"size": (640, 360), "frames": 12}


def decoded(path, size):
    """All frames of a video, (frames, height, width, 3)."""
    command = [encoder(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(content, np.uint8).reshape(-1, size[1], size[0], 3)


def test_a_video_is_what_players_expect(tmp_path):
    record = surface(runs=2)
    path = render.video(record, tmp_path / "run.mp4", densities=densities(2), fps=24, **SMALL)
    said = subprocess.run([encoder(), "-i", path], capture_output=True, text=True, check=False).stderr
    for fact in ("Video: h264", "yuv420p(tv, bt709", "640x360", "24 fps"):
        assert fact in said
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")  # begins to play before all of it has arrived
    frames, film = decoded(path, (640, 360)), render.Film(record, densities=densities(2), **SMALL)
    assert len(frames) == 12
    for k in (0, 5, 11):
        assert np.abs(frames[k].astype(int) - film.frame(k)).mean() < 2
    assert [item.name for item in tmp_path.iterdir()] == ["run.mp4"]


def test_full_size_by_default(tmp_path):
    render.video(surface(runs=1), tmp_path / "run.mp4", frames=2)
    assert decoded(tmp_path / "run.mp4", (1920, 1080)).shape == (2, 1080, 1920, 3)


def test_the_bytes_do_not_depend_on_workers(tmp_path):
    seen = []
    for workers in (1, 3):
        render.video(
            surface(), tmp_path / f"{workers}.mp4", workers=workers, densities=densities(2),
            progress=lambda done, total, _: seen.append((done, total)), **SMALL,
        )  # fmt: skip
    contents = [(tmp_path / f"{workers}.mp4").read_bytes() for workers in (1, 3)]
    assert contents[0] == contents[1]
    assert seen == 2 * [(done, 12) for done in range(1, 13)]


def test_a_complete_video_is_recognized_and_another_one_replaced(tmp_path):
    path, drawn = tmp_path / "run.mp4", []
    options = {"progress": lambda done, total, _: drawn.append(done), "title": 'a = "b"; #1 \\ ü\nnext', **SMALL}
    render.video(surface(), path, **options)
    first = path.read_bytes()
    assert len(drawn) == 12
    render.video(replace(surface(), seconds=9.0, provenance={"date": "later"}), path, workers=2, **options)
    assert len(drawn) == 12
    assert path.read_bytes() == first
    assert read_configuration(path)["title"] == options["title"]
    assert read_configuration(path)["surface_sha256"] == record_digest(surface())
    for change in ({"title": "other"}, {"densities": densities(1)}):
        before = path.read_bytes()
        render.video(surface(), path, **{**options, **change})
        assert path.read_bytes() != before
    render.video(surface(seed=1), path, **options)
    assert len(drawn) == 12 * 4
    path.write_bytes(b"something else")
    assert read_configuration(path) is None
    render.video(surface(), path, **options)
    assert path.read_bytes() == first


def test_the_configuration_says_everything_that_the_bytes_depend_on():
    changes = (
        {},
        {"fps": 25},
        {"log": False},
        {"metric": "accuracy"},
        {"frames": 7},
        {"size": (1280, 720)},
        {"title": ""},
    )
    assert len({comment_of(configuration(surface(), **change)) for change in changes}) == len(changes)


def test_digests_follow_the_content(tmp_path):
    from landscape import store

    record = surface()
    store.save(record, tmp_path / "surface.h5")
    assert record_digest(store.load(tmp_path / "surface.h5")) == record_digest(record)
    loss = record.loss.copy()
    loss[3, 4] = np.nextafter(loss[3, 4], 1)
    assert record_digest(replace(record, loss=loss)) != record_digest(record)
    assert record_digest(replace(record, path_names=np.array(["SGD", "Adam"]))) != record_digest(record)


def test_an_exception_leaves_nothing(tmp_path):
    def stop(done, total, text):
        if done == 3:
            raise KeyboardInterrupt

    for workers in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            render.video(surface(), tmp_path / "run.mp4", workers=workers, progress=stop, **SMALL)
        assert list(tmp_path.iterdir()) == []


SCRIPT = """
import multiprocessing, sys, time
from landscape import render
from tests.render.surface_cases import surface
def report(done, total, text):
    print(done, *(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(float(sys.argv[3]))
if __name__ == "__main__":
    render.video(surface(), sys.argv[1], size=(640, 360), frames=12, workers=int(sys.argv[2]), progress=report)
"""


@pytest.mark.parametrize("workers", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_and_run_again(tmp_path, workers, faults):
    whole = tmp_path / "whole" / "run.mp4"
    whole.parent.mkdir()
    render.video(surface(), whole, **SMALL)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, str(script), str(folder / "run.mp4"), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for round_number in range(faults):
        process = subprocess.Popen([*command, "0.2"], stdout=subprocess.PIPE, text=True, env=environment)
        lines = [process.stdout.readline() for _ in range(1 + (3 + 5 * round_number) % 10)]
        children = {int(word) for line in lines for word in line.split()[1:]}
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not (folder / "run.mp4").exists()
        assert len(list(folder.glob(".run.mp4.*.part"))) == 1
        assert len(children) == workers - 1
        deadline = time.monotonic() + 20
        while any(_runs(child) for child in children):  # workers do not outlive a killed parent
            assert time.monotonic() < deadline
            time.sleep(0.05)
    subprocess.run([*command, "0"], check=True, env=environment, stdout=subprocess.DEVNULL)
    assert (folder / "run.mp4").read_bytes() == whole.read_bytes()
    assert [item.name for item in folder.iterdir()] == ["run.mp4"]  # leftovers are gone


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.slow
def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from landscape import render\nfrom tests.render.surface_cases import surface\n"
        "render.video(surface(), 'run.mp4', size=(640, 360), frames=200, workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'if __name__ == "__main__":' in done.stderr.strip().splitlines()[-1]
    assert [item.name for item in tmp_path.iterdir()] == ["script.py"]


def fake_encoder(folder, text):
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_encoders_that_fail(tmp_path, monkeypatch):
    target = tmp_path / "run.mp4"
    program = fake_encoder(tmp_path, "echo 'Unknown encoder libx264' >&2; exit 8")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(ComputeError, match=r"exit code 8.; it said: Unknown encoder libx264"):
        render.video(surface(), target, **SMALL)
    fake_encoder(tmp_path, "cat > /dev/null; exit 1")
    with pytest.raises(ComputeError, match="it said nothing; is the disk full"):
        render.video(surface(), target, **SMALL)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"nothing is no program that can be run: install it with `pip install"):
        render.video(surface(), target, **SMALL)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match="there is no video encoder: install it"):
        render.video(surface(), target, **SMALL)
    assert not target.exists()
    assert not list(tmp_path.glob(".*"))


def test_frames_from_elsewhere(tmp_path):
    film = render.Film(surface(), **SMALL)
    with VideoFile(tmp_path / "run.mp4", film.size, 30, "a comment") as file:
        for k in range(len(film)):
            file.write(film.draw(k))
    assert read_comment(tmp_path / "run.mp4") == "a comment"
    assert len(decoded(tmp_path / "run.mp4", film.size)) == 12
    with (
        pytest.raises(InputError, match=r"shape \(360, 640, 3\) and type uint8 does not fit"),
        VideoFile(tmp_path / "other.mp4", film.size, 30) as file,
    ):
        file.write(film.frame(0))
    with pytest.raises(ComputeError, match="could not write"), VideoFile(tmp_path / "other.mp4", film.size, 30):
        pass  # no frame at all
    assert [item.name for item in tmp_path.iterdir()] == ["run.mp4"]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("run.avi", {}, r"run.avi: the name must end in one of \.mp4, \.webm, \.gif"),
        ("run", {}, r"the name must end in one of \.mp4"),
        ("run.gif", {"fps": 60}, "at most 50 pictures per second of a GIF"),
        ("run.mp4", {"layout": "3d"}, r"no layout '3d'; choose one of:\n  trajectory .*\n  flyover .*\n  spectrum"),
        ("run.mp4", {"size": "huge"}, "the size is 'huge'; write width and height in pixels"),
        ("nowhere/run.mp4", {}, r"cannot write the video .*: there is no folder"),
        ("folder.mp4", {}, "it is a folder; give the name of a file in it"),
        ("run.mp4", {"workers": 0}, "workers is 0"),
        ("run.mp4", {"workers": 1.5}, "workers is 1.5"),
        ("run.mp4", {"fps": 0}, "fps is 0; give between 1 and 240"),
        ("run.mp4", {"fps": float("nan")}, "fps is nan"),
        ("run.mp4", {"size": (641, 360)}, "even numbers; give 642 × 360"),
        ("run.mp4", {"frames": -1}, "-1 frames make no video"),
        ("run.mp4", {"metric": "error"}, "no metric 'error'"),
    ],
)
def test_bad_input(tmp_path, path, options, message):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=message):
        render.video(surface(), tmp_path / path, **{**SMALL, **options})
    assert [item.name for item in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(InputError, match=r"cannot write the video .*: its folder cannot be written"):
        render.video(surface(), tmp_path / "run.mp4", **SMALL)
