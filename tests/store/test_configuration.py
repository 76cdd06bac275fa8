"""Configurations: equal ones have one digest, different ones say where they differ."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.store import configuration_differences, configuration_digest


def test_digest_ignores_order_and_number_type():
    one = {"seed": 0, "nested": {"a": 1, "b": [1.5, None]}}
    other = {"nested": {"b": (np.float64(1.5), None), "a": np.int64(1)}, "seed": 0}
    assert configuration_digest(one) == configuration_digest(other)
    assert configuration_differences(one, other) == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 2}, {"a": (1, 2)}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a.c": (2, None)}),
        ({"a": {}}, {"a": {"b": 1}}, {"a": ({}, None), "a.b": (None, 1)}),
        ({"a": float("nan")}, {"a": float("nan")}, {}),
        ({"a": 1}, {"a": True}, {"a": (1, True)}),
    ],
)
def test_differences(old, new, expected):
    assert configuration_differences(old, new) == expected
    assert bool(expected) == (configuration_digest(old) != configuration_digest(new))
