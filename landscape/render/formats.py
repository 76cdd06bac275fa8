"""The formats that figures can be written in, and how a file comes to the disk."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from landscape.errors import InputError

SUFFIXES = (".png", ".svg", ".pdf")


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Return the format that a file name asks for.

    Raises
    ------
    InputError
        It asks for none of ours.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"cannot draw {path}: the name must end in one of {', '.join(SUFFIXES)}")
    return suffix[1:]


def write_whole(what: str, path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file, whole or not at all.

    Parameters
    ----------
    what : str
        What it is, for the message: "figure", "report".
    path : path
        An earlier file there is replaced, in one step.
    content : bytes

    Raises
    ------
    InputError
        It cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write the {what} {path}: {error.strerror}; choose another place") from error
    return path
