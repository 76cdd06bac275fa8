"""Video files by the encoder that comes with imageio-ffmpeg: whole or not at all, always the same bytes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from landscape.errors import ComputeError, InputError
from landscape.render.video_formats import VideoFormat, append_gif_comment, format_of, read_gif_comment

PIPE = 1 << 20  # bytes: what Linux allows everyone


class VideoFile:
    """A video file that is being written; a context manager. An exception inside leaves no file.

    Parameters
    ----------
    path : path
        It ends in .mp4, .webm or .gif and its folder exists; an earlier file is replaced at the end, in one step.
    size : (int, int)
        Width and height of the frames in pixels, both even.
    fps : float
        Frames per second.
    comment : str
        Kept in the file; see :func:`read_comment`.
    samples : callable, optional
        Returns frames with all colours of the film, for the palette of a GIF; without it every frame has its own.

    Raises
    ------
    InputError
        Another suffix, no encoder, or a folder that cannot be written.
    ComputeError
        The encoder failed; the message has its last words.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: tuple[int, int],
        fps: float,
        comment: str = "",
        samples: Callable[[], Iterable[NDArray[np.uint8]]] | None = None,
    ) -> None:
        self.path = check_video_path(path)
        self.format = format_of(self.path)
        self.samples = samples
        self.size, self.fps, self.comment = size, fps, comment
        self.frames = 0
        self._encoder = encoder()
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")

    def __enter__(self) -> Self:
        _remove_leftovers(self.path)
        command = [*self._reading(), *self._filtering(), *self.format.encoding, "-g", f"{max(1, round(self.fps))}"]
        try:
            with self._temporary.open("xb"):
                pass
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        if not self.format.palette:  # a GIF gets its comment at the end
            command += ["-metadata", f"comment={self.comment}"]
        command.append(str(self._temporary))
        self._words = tempfile.TemporaryFile()
        # A session of its own: an interrupt is ours to handle, and at our death its input ends, and so does it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._words, start_new_session=True
        )
        self._widen_pipe()
        return self

    def _widen_pipe(self) -> None:
        """Let the pipe hold more of a frame, where the system can: fewer turns between drawing and encoding."""
        wanted = getattr(fcntl, "F_SETPIPE_SZ", None)
        if wanted is not None and self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._process.stdin.fileno(), wanted, PIPE)

    def _reading(self) -> list[str]:
        """The encoder, and raw frames from its standard input."""
        width, height = self.size
        return [
            self._encoder, "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{width}x{height}",
            "-r", f"{self.fps:.12g}", "-i", "-",
        ]  # fmt: skip

    def _filtering(self) -> list[str]:
        if not self.format.palette:
            return ["-an", "-vf", self.format.filters]
        use = "paletteuse=dither=none"
        if self.samples is None:
            each = "format=rgb24,split[a][b];[a]palettegen=stats_mode=single:reserve_transparent=0[p];"
            return ["-filter_complex", f"{each}[b][p]{use}:new=1"]
        self._folder = tempfile.TemporaryDirectory()
        palette = str(Path(self._folder.name, "palette.png"))
        command = [*self._reading(), "-vf", "format=rgb24,palettegen=reserve_transparent=0", "-frames:v", "1", palette]
        content = b"".join(np.ascontiguousarray(frame).tobytes() for frame in self.samples())
        done = subprocess.run(command, input=content, capture_output=True, check=False)
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip()[-500:]
            raise ComputeError(f"the encoder could not choose the colours of {self.path}; it said: {words}")
        return ["-i", palette, "-filter_complex", f"[0:v]format=rgb24[a];[a][1:v]{use}:diff_mode=rectangle"]

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, (height, width, 4) uint8: red, green, blue and a byte that does not count."""
        if self._process is None or self._process.stdin is None:
            raise ComputeError(f"{self.path} is not being written: use it in a with statement")
        width, height = self.size
        if frame.shape != (height, width, 4) or frame.dtype != np.uint8:
            raise InputError(
                f"a frame of shape {frame.shape} and type {frame.dtype} does not fit into a video of "
                f"{width} × {height} pixels; give an array of shape ({height}, {width}, 4) and type uint8"
            )
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except (BrokenPipeError, OSError) as error:
            raise self._failure() from error
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if self._process is not None and self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
            if self._words is not None:
                self._words.close()
            if self._folder is not None:
                self._folder.cleanup()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
        except OSError as error:
            raise self._failure() from error
        if process.wait() != 0 or self.frames == 0:
            raise self._failure()
        try:
            if self.format.palette and self.comment:
                append_gif_comment(self._temporary, self.comment)
            with self._temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise ComputeError(f"writing {self.path} failed: {error.strerror}") from error

    def _failure(self) -> ComputeError:
        process, words = self._process, ""
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=5)
        if self._words is not None:
            self._words.seek(0)
            words = self._words.read().decode(errors="replace").strip()[-500:]
        said = f"it said: {words}" if words else "it said nothing; is the disk full?"
        return ComputeError(f"the encoder could not write {self.path} (exit code {code}); {said}")


def check_video_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a video that can be written in a format of ours.

    Raises
    ------
    InputError
        Another suffix, or a folder.
    """
    path = Path(path)
    format_of(path)
    if path.is_dir():
        raise InputError(f"cannot write the video {path}: it is a folder; give the name of a file in it")
    if not os.access(path.parent, os.W_OK):
        what = "its folder cannot be written" if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise InputError(f"cannot write the video {path}: {what}; choose another place")
    return path


def check_speed(shape: VideoFormat, fps: float) -> None:
    """Refuse what players of a format do not show.

    Raises
    ------
    InputError
    """
    if fps > shape.fastest:
        raise InputError(
            f"fps is {fps!r}, but players show at most {shape.fastest:g} pictures per second of a {shape.name}"
        )


def encoder() -> str:
    """Path of the encoder.

    Raises
    ------
    InputError
        There is none.
    """
    advice = (
        "install it with `pip install imageio-ffmpeg`, or let IMAGEIO_FFMPEG_EXE name an ffmpeg that has libx264 and "
        "libvpx-vp9"
    )
    try:
        import imageio_ffmpeg

        found = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(f"there is no video encoder: {advice}") from error
    if shutil.which(found) is None:
        raise InputError(f"the video encoder {found} is no program that can be run: {advice}")
    return found


def read_comment(path: str | os.PathLike[str]) -> str | None:
    """The comment that a video file carries; None if there is no such file, or no comment."""
    path = Path(path)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(6) == b"GIF89a":
            return read_gif_comment(path)
    command = [encoder(), "-v", "error", "-i", str(path), "-f", "ffmetadata", "-"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    # A line of that format goes on after a backslash at its end, and a backslash stands before = ; # \.
    found = re.search(
        r"^comment=((?:[^\\\n]|\\.)*)$", done.stdout.decode(errors="replace"), re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else None


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write the video {path}: {error.strerror}; choose another place")


def _remove_leftovers(path: Path) -> None:
    """Remove what runs have left behind that were killed while they wrote this file."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"(\d+)-[0-9a-f]{8}\.part")
    for other in path.parent.iterdir():
        found = pattern.fullmatch(other.name)
        if found and not _alive(int(found[1])):
            with contextlib.suppress(OSError):
                other.unlink()


def _alive(process: int) -> Any:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
