"""H.264 video files by the encoder that comes with imageio-ffmpeg: whole or not at all, always the same bytes."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from landscape.errors import ComputeError, InputError

SUFFIX = ".mp4"
# Colours as high-definition players expect them, computed alike on every processor.
FILTERS = (
    "scale=in_range=full:out_range=tv:out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int+bitexact,"
    "format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
)
# The number of threads decides how pictures refer to each other, so it is fixed: one keeps pace with the drawing.
# Quality 16 shows no artefacts around thin lines, a key frame each second (-g) lets players jump; a slower preset would
# save half of a megabyte.
ENCODING = (
    "-c:v", "libx264", "-preset", "superfast", "-crf", "16", "-threads", "1", "-color_range", "tv",
    "-colorspace", "bt709", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1",
    "-movflags", "+faststart", "-f", "mp4",
)  # fmt: skip


class VideoFile:
    """A video file that is being written; a context manager. An exception inside leaves no file.

    Parameters
    ----------
    path : path
        It ends in .mp4 and its folder exists; an earlier file is replaced at the end, in one step.
    size : (int, int)
        Width and height of the frames in pixels, both even.
    fps : float
        Frames per second.
    comment : str
        Kept in the file; see :func:`read_comment`.

    Raises
    ------
    InputError
        Another suffix, no encoder, or a folder that cannot be written.
    ComputeError
        The encoder failed; the message has its last words.
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float, comment: str = "") -> None:
        self.path = check_video_path(path)
        self.size, self.fps, self.comment = size, fps, comment
        self.frames = 0
        self._encoder = encoder()
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")

    def __enter__(self) -> Self:
        _remove_leftovers(self.path)
        try:
            with self._temporary.open("xb"):
                pass
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        width, height = self.size
        command = [
            self._encoder, "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{width}x{height}",
            "-r", f"{self.fps:.12g}", "-i", "-", "-an", "-vf", FILTERS, *ENCODING, "-g", f"{max(1, round(self.fps))}",
            "-metadata", f"comment={self.comment}", str(self._temporary),
        ]  # fmt: skip
        self._words = tempfile.TemporaryFile()
        # A session of its own: an interrupt is ours to handle, and at our death its input ends, and so does it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._words, start_new_session=True
        )
        return self

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
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"cannot write a video to {path}: the name must end in {SUFFIX}")
    if path.is_dir():
        raise InputError(f"cannot write the video {path}: it is a folder; give the name of a file in it")
    if not os.access(path.parent, os.W_OK):
        what = "its folder cannot be written" if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise InputError(f"cannot write the video {path}: {what}; choose another place")
    return path


def encoder() -> str:
    """Path of the encoder.

    Raises
    ------
    InputError
        There is none.
    """
    advice = "install it with `pip install imageio-ffmpeg`, or let IMAGEIO_FFMPEG_EXE name an ffmpeg that has libx264"
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
    if not Path(path).is_file():
        return None
    command = [encoder(), "-v", "error", "-i", str(path), "-f", "ffmetadata", "-"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    # A line of that format goes on after a backslash at its end, and a backslash stands before = ; # \.
    found = re.search(r"^comment=((?:[^\\\n]|\\.)*)$", done.stdout.decode(errors="replace"), re.MULTILINE | re.DOTALL)
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
