"""A record in pieces, as a rank sends it and a half-done run keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError

Made = TypeVar("Made")


def record_parts(record: Any, left_out: Sequence[str] = ()) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a record, and its numbers and texts; without dictionaries.

    Parameters
    ----------
    record : dataclass
    left_out : sequence of str
        Fields that are not wanted.
    """
    values = {one.name: getattr(record, one.name) for one in dataclasses.fields(record) if one.name not in left_out}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}
    return arrays, facts


def record_from(kind: type[Made], arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Made:
    """The record with these parts, as :func:`record_parts` took them.

    Raises
    ------
    InputError
        If there are parts that the record does not have.
    """
    found = {**arrays, **facts}
    unknown = sorted(set(found) - {one.name for one in dataclasses.fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise InputError(
            f"a half-done run was written by another version of landscape (it knows {', '.join(unknown)}): drop its "
            "state (--overwrite) and start again"
        )
    return kind(**found)
