"""Arguments that several functions check in the same words."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import Any

from landscape.errors import InputError


def check_whole(name: str, value: Any, least: int, unit: str = "") -> None:
    """Refuse what is not a whole number of at least ``least``, of something if it has a unit.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        rule = f"must be at least {least}{f' {unit}' if unit else ''}" if least else "must not be negative"
        raise InputError(f"{name} {rule}, not {value}")


def check_positive(name: str, value: Any) -> None:
    """Refuse what is not a finite number above zero.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} must be a number, not {value!r}")
    if not (isfinite(value) and float(value) > 0):
        raise InputError(f"{name} must be positive, not {value}")
