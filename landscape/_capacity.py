"""Amounts of memory: in words, and what this computer has."""

from __future__ import annotations

import os
import re
from pathlib import Path

from landscape.errors import InputError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def bytes_of(text: int | float | str) -> int:
    """A number of bytes, such as ``4e9``, ``"4GiB"`` or ``"500 MB"``; prefixes are powers of 1024.

    Raises
    ------
    InputError
        If it is something else, or not positive.

    Examples
    --------
    >>> bytes_of("1.5 GiB")
    1610612736
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(?:i?B)?\s*", str(text), re.IGNORECASE)
    try:
        value = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    except ValueError:
        value = 0
    if value <= 0:
        raise InputError(f'memory_budget must be a number of bytes such as 4e9 or "4GiB", not {text!r}')
    return value


def in_words(number: float) -> str:
    """A number of bytes, with two or three digits.

    Examples
    --------
    >>> in_words(4_300_000_000)
    '4.0 GiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def host_bytes() -> float:
    """Memory of this computer, or of the control group that this process is in; infinite if it cannot be known."""
    total = float("inf")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if Path(path).is_file():
            text = Path(path).read_text().strip()
            total = min(total, float(text)) if text.isdigit() else total
    return total
