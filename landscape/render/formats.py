"""The formats that figures can be written in."""

from __future__ import annotations

import os
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
