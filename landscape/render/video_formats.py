"""The containers of videos: how each is encoded, and where it keeps a comment."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from landscape.errors import InputError

# Colours as high-definition players expect them, computed alike on every processor.
HIGH_DEFINITION = (
    "scale=in_range=full:out_range=tv:out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int+bitexact,"
    "format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
)
EXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1")
COMMENT, TRAILER = b"\x21\xfe", b"\x3b"  # of a GIF


@dataclass(frozen=True)
class VideoFormat:
    """A container and its encoder.

    Attributes
    ----------
    name : str
        For people.
    encoding : tuple of str
        Arguments of ffmpeg.
    filters : str
        From red, green and blue to what is encoded; a GIF has a palette instead.
    size : (int, int)
        In pixels, unless asked for.
    fps : float
        Frames per second, unless asked for.
    fastest : float
        Frames per second at most.
    palette : bool
        Whether all colours of the film must be known before its first frame is encoded.
    """

    name: str
    encoding: tuple[str, ...]
    filters: str = ""
    size: tuple[int, int] = (1920, 1080)
    fps: float = 30.0
    fastest: float = 240.0
    palette: bool = False


# The number of threads decides how pictures refer to each other, so it is fixed: one keeps pace with the drawing.
# H.264 with quality 16 shows no artefacts around thin lines; a slower preset would save half of a megabyte. VP9 at 20
# looks the same. A GIF is for places that show nothing else: smaller, slower, one palette for all frames.
FORMATS = {
    ".mp4": VideoFormat(
        "H.264",
        ("-c:v", "libx264", "-preset", "superfast", "-crf", "16", "-threads", "1", "-color_range", "tv",
         "-colorspace", "bt709", *EXACT, "-movflags", "+faststart", "-f", "mp4"),
        HIGH_DEFINITION,
    ),
    ".webm": VideoFormat(
        "VP9",
        ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "7", "-crf", "20", "-b:v", "0", "-row-mt", "0",
         "-threads", "1", "-color_range", "tv", "-colorspace", "bt709", *EXACT, "-f", "webm"),
        HIGH_DEFINITION,
    ),
    ".gif": VideoFormat(
        "GIF", ("-c:v", "gif", *EXACT, "-f", "gif"), size=(960, 540), fps=20.0, fastest=50.0, palette=True
    ),
}  # fmt: skip


def format_of(path: str | os.PathLike[str]) -> VideoFormat:
    """The format that a file name asks for.

    Raises
    ------
    InputError
        It asks for none of ours.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"cannot write a video to {path}: the name must end in one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def append_gif_comment(path: Path, comment: str) -> None:
    """Put a comment at the end of a GIF."""
    content = comment.encode()
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != TRAILER:
            raise ValueError(f"{path} does not end as a GIF does")
        file.seek(-1, os.SEEK_END)
        file.write(COMMENT)
        for start in range(0, len(content), 255):
            part = content[start : start + 255]
            file.write(bytes([len(part)]) + part)
        file.write(b"\x00" + TRAILER)


def read_gif_comment(path: Path) -> str | None:
    """The last comment of a GIF; None if it has none, or is damaged."""
    if path.stat().st_size < 14:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:6] != b"GIF89a":
            return None
        try:
            return _last_comment(data)
        except (IndexError, UnicodeDecodeError):
            return None


def _last_comment(data: mmap.mmap) -> str | None:
    """Walk over the blocks of a GIF (GIF89a specification, 1990)."""
    place = 13 + _table(data[10])
    found = None
    while True:
        kind = data[place]
        if kind == 0x3B:
            return found
        if kind == 0x2C:  # a picture: descriptor, own palette, code size, data
            content, place = _blocks(data, place + 10 + _table(data[place + 9]) + 1, keep=False)
        elif kind == 0x21:
            comment = data[place + 1] == 0xFE
            content, place = _blocks(data, place + 2, keep=comment)
            found = content.decode() if comment else found
        else:
            return None


def _table(flags: int) -> int:
    """Bytes of a palette that flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(data: mmap.mmap, place: int, keep: bool) -> tuple[bytes, int]:
    """The content of a chain of blocks, and where it ends."""
    parts = []
    while (length := data[place]) != 0:
        if keep:
            parts.append(data[place + 1 : place + 1 + length])
        place += 1 + length
    return b"".join(parts), place + 1
