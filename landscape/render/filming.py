"""A film as a video file: frames from one process or several, in order, into one encoder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import ComputeError, InputError
from landscape.render.encoder import VideoFile, check_speed, check_video_path, encoder, read_comment
from landscape.render.film_layouts import AnyFilm, film_class, is_path, length_of, subject_of
from landscape.render.film_schedule import check_size, pixels, sorted_densities, sorted_eigenvalues
from landscape.render.video_formats import format_of

if TYPE_CHECKING:
    from landscape.records import DensitySeries, EigenSeries, PathProfile, SpectralDensity, Surface

Image = NDArray[np.uint8]
Pixels = NDArray[np.uint32]
LOOK = 3  # raise it when the same configuration gives other pictures
MARK = "landscape video "  # how the comment of our files begins
# Fields of records that no picture depends on.
NOT_SHOWN = ("provenance", "seconds", "evaluations", "products", "gradient_equivalents")
SAMPLES = 12  # frames from which the palette of a GIF is chosen
AHEAD = 3  # frames per worker that may wait for the encoder


def video(
    subject: Surface | Sequence[Surface] | DensitySeries | PathProfile,
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    surface: Surface | None = None,
    densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
    eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | str | None = None,
    metric: str | None = None,
    log: bool | str = "auto",
    workers: int = 1,
    title: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Write a video of a training, or of a path between two minima: MP4 (H.264), WebM (VP9) or GIF.

    The same call gives the same bytes, with any number of workers. A file that was written by the same call is left
    as it is; any other file there is replaced.

    Parameters
    ----------
    subject : Surface, sequence of Surface, DensitySeries, or PathProfile
        A surface with at least one run; several surfaces of one plane, with the runs of all; densities alone; or a path
        between two minima.
    path : path
        Ends in .mp4, .webm or .gif.
    layout : str, optional
        "trajectory": the landscape with the runs and what is known along them. "flyover": the landscape as a relief
        that turns. "spectrum": the eigenvalue density over the training, as a curve and as a map. "compare": several
        runs, each with panels of its own. "path": from one minimum to the other. Default: "trajectory"; "spectrum" of
        densities alone, "compare" of several surfaces, "path" of a path.
    surface : Surface, optional
        Of a path: that of its plane, ``path.plane()``, on which the film shows the place, too.
    densities : DensitySeries or list of (int, SpectralDensity), optional
        Eigenvalue densities at steps of the runs; ``"run"`` in the provenance of one names its run.
    eigenvalues : EigenSeries or sequence of them, optional
        Extreme eigenvalues along the runs, drawn with the stability threshold of the recorded optimizer.
    frames : int, optional
        Default: one per checkpoint, but at least 150 and at most 1800.
    fps : float, optional
        Frames per second, 1 to 240; default 30. A GIF: at most 50, default 20.
    size : (int, int) or str, optional
        Width and height in pixels, both even; or "720p", "1080p", "1440p", "4k". Default: 1920 × 1080, a GIF 960 × 540.
    metric, log
        As in :func:`landscape.render.contour`.
    workers : int
        Processes that draw, this one among them; one of them and the encoder keep two cores busy, so more pay off
        from about four cores on. They import the calling script: keep the call under ``if __name__ == "__main__":``.
    title : str, optional
        Written above the picture.
    progress : callable, optional
        Called as ``progress(done, total, text)`` after every frame.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        Nothing that moves, an unknown layout or suffix, an impossible size or number, runs of different models, no
        encoder, a folder that cannot be written.
    ComputeError
        A worker or the encoder failed.

    Examples
    --------
    >>> video(landscape.load("surface.h5"), "run.mp4")  # doctest: +SKIP
    >>> video(landscape.load("spectra.h5"), "spectra.webm", size="720p")  # doctest: +SKIP
    """
    path = check_video_path(path)
    if not (isinstance(workers, (int, np.integer)) and workers >= 1):
        raise InputError(f"workers is {workers!r}; give a whole number of processes, at least 1")
    encoder()
    shape = format_of(path)
    fps = shape.fps if fps is None else fps
    size = shape.size if size is None else pixels(size)
    check_rate(fps)
    check_speed(shape, fps)
    options: dict[str, Any] = {
        "surface": surface, "densities": densities, "eigenvalues": eigenvalues, "frames": frames, "size": size,
        "metric": metric, "log": log, "title": title,
    }  # fmt: skip
    comment = comment_of(configuration(subject, layout=layout, fps=fps, **options))
    if read_comment(path) == comment:
        return path
    chosen, layout, options = subject_of(subject, layout, options)
    film = film_class(layout)(chosen, **options)
    with VideoFile(path, film.size, fps, comment, lambda: colors_of(film)) as file:
        workers = min(int(workers), len(film))
        drawn = _drawn_here(film) if workers == 1 else _drawn_by_workers(film, (chosen, layout, options), workers)
        for done, frame in enumerate(drawn, 1):
            file.write(frame)
            if progress is not None:
                progress(done, len(film), "")
    return path


def configuration(
    subject: Surface | Sequence[Surface] | DensitySeries | PathProfile | None,
    *,
    layout: str | None = None,
    surface: Surface | None = None,
    densities: DensitySeries | Sequence[tuple[int, SpectralDensity]] | None = None,
    eigenvalues: EigenSeries | Sequence[EigenSeries] | None = None,
    frames: int | None = None,
    fps: float = 30,
    size: tuple[int, int] = (1920, 1080),
    metric: str | None = None,
    log: bool | str = "auto",
    title: str | None = None,
) -> dict[str, Any]:
    """What the bytes of a video depend on, as plain values; records count by their content.

    Raises
    ------
    InputError
        As :func:`video`, where no drawing is needed to know.
    """
    asked: dict[str, Any] = {
        "surface": surface, "densities": densities, "eigenvalues": eigenvalues, "frames": frames,
    }  # fmt: skip
    chosen, layout, options = subject_of(subject, layout, asked)
    check_size(size)
    check_rate(fps)
    look = {
        "look": LOOK, "layout": layout, "frames": length_of(chosen, layout, options), "fps": float(fps),
        "size": f"{size[0]}x{size[1]}", "metric": metric, "log": log, "title": title,
    }  # fmt: skip
    if is_path(chosen):
        plane = None if surface is None else record_digest(surface)
        return {**look, "path_sha256": record_digest(chosen), "surface_sha256": plane}
    return {**look, **_of_training(chosen, options, eigenvalues)}


def _of_training(
    surface: Surface | None, options: Mapping[str, Any], eigenvalues: EigenSeries | Sequence[EigenSeries] | None
) -> dict[str, Any]:
    """What the video of a training depends on beside its look."""
    runs = surface.paths if surface is not None else ()
    moments = sorted_densities(options["densities"], runs)
    losses = [getattr(options["densities"], name) for name in ("loss", "losses") if hasattr(options["densities"], name)]
    followed = sorted_eigenvalues(eigenvalues, runs, surface.n if surface is not None else 0)
    return {
        "surface_sha256": None if surface is None else record_digest(surface),
        "densities": [f"{moment.step}:{record_digest(moment.density)}:{moment.run}" for moment in moments],
        "losses_sha256": hashlib.sha256(b"".join(part.tobytes() for part in losses)).hexdigest() if losses else None,
        "eigenvalues": [record_digest(one.series) for one in followed],
    }


def colors_of(film: AnyFilm) -> Iterator[Image]:
    """Frames that hold all colours of a film: the first, the last, and some between."""
    for k in np.unique(np.linspace(0, len(film) - 1, SAMPLES).round().astype(int)):
        yield film.draw(int(k))


def comment_of(settings: Mapping[str, Any]) -> str:
    """The comment of a file with this configuration: its SHA-256, then the configuration itself as JSON."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return f"{MARK}{hashlib.sha256(text.encode()).hexdigest()} {text}"


def read_configuration(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The configuration that a video was made with; None if there is no file, or it is not one of ours."""
    comment = read_comment(path)
    if comment is None or not comment.startswith(MARK):
        return None
    try:
        found = json.loads(comment.removeprefix(MARK).partition(" ")[2])
    except ValueError:
        return None
    return found if isinstance(found, dict) and comment_of(found) == comment else None


def record_digest(record: Any) -> str:
    """SHA-256 (hexadecimal) of the content of a record: not of how long it took, nor of where it came from."""
    digest = hashlib.sha256(type(record).__name__.encode())
    for field in dataclasses.fields(record):
        if field.name in NOT_SHOWN:
            continue
        value = getattr(record, field.name)
        parts = value if isinstance(value, Mapping) else {"": value}
        for name in sorted(parts):
            digest.update(f"{field.name}/{name}:".encode())
            if isinstance(parts[name], np.ndarray):
                array = parts[name]
                text = array.dtype.kind in "OSUT"
                digest.update(f"{'text' if text else array.dtype.str}{array.shape}".encode())
                content = json.dumps(array.astype(str).tolist()).encode() if text else array.tobytes()
                digest.update(content)
            else:
                value = parts[name]
                digest.update(repr(value.item() if isinstance(value, np.generic) else value).encode())
    return digest.hexdigest()


def check_rate(fps: float) -> None:
    """Refuse impossible frame rates.

    Raises
    ------
    InputError
    """
    if not (isinstance(fps, (int, float, np.number)) and math.isfinite(fps) and 1 <= fps <= 240):
        raise InputError(f"fps is {fps!r}; give between 1 and 240 frames per second")


def _drawn_here(film: AnyFilm) -> Iterator[Image]:
    for k in range(len(film)):
        yield film.draw(k)


def _drawn_by_workers(film: AnyFilm, made_of: tuple[Any, str, dict[str, Any]], workers: int) -> Iterator[Image]:
    """Frames in order, drawn by this process and by fresh ones, which join as soon as they have started."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, context, initializer=_start_worker, initargs=made_of)
    ready: dict[int, Image] = {}
    futures: dict[int, Future[tuple[Pixels, Pixels]]] = {}
    total, limit = len(film), AHEAD * workers + 2
    try:
        started = [pool.submit(os.getpid) for _ in range(workers - 1)]
        begun = 0
        for k in range(total):
            while k not in ready:
                while begun < min(total, k + limit) and len(futures) < 2 * sum(_succeeded(one) for one in started):
                    futures[begun] = pool.submit(_draw, begun)
                    begun += 1
                if k in futures and (futures[k].done() or begun == min(total, k + limit)):
                    ready[k] = _with_changes(film.still, *futures.pop(k).result())
                else:
                    ready[begun] = film.draw(begun).copy()
                    begun += 1
            yield ready.pop(k)
    except BrokenProcessPool as error:
        raise ComputeError(
            "a process that draws frames ended early; if your script calls video(..., workers=2) outside of "
            '`if __name__ == "__main__":`, put the call there, or use workers=1'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _succeeded(future: Future[Any]) -> bool:
    """Whether a call has returned; raises what it raised."""
    return future.done() and future.result() is not None


def _with_changes(still: Image, where: Pixels, pixels: Pixels) -> Image:
    """A frame from what all frames share and the pixels that differ from it."""
    frame = still.copy()
    frame.reshape(-1).view(np.uint32)[where] = pixels
    return frame


_films: list[AnyFilm] = []  # the one of this worker


def _start_worker(subject: Any, layout: str, options: dict[str, Any]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _films.append(film_class(layout)(subject, **options))


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw(k: int) -> tuple[Pixels, Pixels]:
    """Where a frame differs from what all frames share, and its pixels there: a tenth of the frame's bytes or less."""
    film = _films[0]
    pixels = film.draw(k).reshape(-1).view(np.uint32)
    where = np.flatnonzero(pixels != film.still.reshape(-1).view(np.uint32))
    return where.astype(np.uint32), pixels[where]
