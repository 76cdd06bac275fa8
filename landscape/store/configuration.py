"""Configurations: what was asked for, as a tree of plain values; their digest and their differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def configuration_digest(configuration: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a configuration, independent of the order of its keys."""
    return hashlib.sha256(to_json(configuration, sort_keys=True).encode()).hexdigest()


def configuration_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two configurations differ, dotted where nested, with their old and new values.

    A key that one of them lacks has the value None there.

    Examples
    --------
    >>> configuration_differences({"tol": 0.05, "seed": 0}, {"tol": 0.01, "seed": 0})
    {'tol': (0.05, 0.01)}
    """
    first, second = (dict(_flat(plain(tree))) for tree in (old, new))
    pairs = {key: (first.get(key), second.get(key)) for key in sorted(first.keys() | second.keys())}
    return {key: pair for key, pair in pairs.items() if to_json(pair[0]) != to_json(pair[1])}  # as text: NaN equals NaN


def differences_in_words(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """`configuration_differences` as text, one indented line per key."""
    found = configuration_differences(old, new)
    return "\n".join(f"  {key}: {before!r} there, {after!r} now" for key, (before, after) in found.items())


def plain(value: Any) -> Any:
    """Return the value as JSON gives it back: NumPy scalars become Python's, tuples lists, keys text."""
    return value.item() if isinstance(value, np.generic) else json.loads(to_json(value))


def to_json(value: Any, sort_keys: bool = False) -> str:
    """JSON text of plain values, NumPy ones among them; floating-point numbers come back exactly.

    Raises
    ------
    TypeError
        The value holds something else, which only a pickle could store.
    """
    return json.dumps(value, sort_keys=sort_keys, default=_convert)


def _convert(item: Any) -> Any:
    if isinstance(item, np.generic | np.ndarray):
        return item.tolist()
    if isinstance(item, Mapping):
        return dict(item)
    raise TypeError(f"{type(item).__name__} cannot be stored: use numbers, text, lists, dictionaries or arrays")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
