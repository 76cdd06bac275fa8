from __future__ import annotations

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.geometry import Layout

ONE = Layout(("w", "b"), ((2, 2), (2,)), 6)


def test_vectors_are_rearranged_to_another_order_of_the_same_parameters():
    other = Layout(("b", "w"), ((2,), (2, 2)), 6)
    theta = np.array([10, 11, 0, 1, 2, 3])  # b, then w
    places = ONE.places_of(other, "this", "that")
    assert theta[places].tolist() == [0, 1, 2, 3, 10, 11]
    assert ONE.places_of(ONE, "this", "that") is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Layout(("w", "c"), ((2, 2), (2,)), 6), "that has no parameter 'b' \\(2,\\)"),
        (Layout(("w", "b"), ((4, 1), (2,)), 6), "'w' has shape \\(2, 2\\) in this, but \\(4, 1\\) in that"),
        (Layout(("w", "b", "c"), ((2, 2), (2,), (1,)), 7), "this has no parameter 'c' \\(1,\\)"),
        (Layout((), (), 5), "this has n = 6 parameters, but that has 5"),
    ],
)
def test_another_model_is_named(other, message):
    with pytest.raises(InputError, match=message):
        ONE.places_of(other, "this", "that")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("^b", [0, 0, 0, 0, 1, 1]),
        (["w"], [1, 1, 1, 1, 0, 0]),
        (lambda name, value: value.ndim == 1 and value[0] == 4, [0, 0, 0, 0, 1, 1]),
    ],
)
def test_parameters_are_chosen_by_name_expression_or_predicate(parameters, expected):
    assert ONE.selected(parameters, np.arange(6.0)).tolist() == [bool(one) for one in expected]


def test_without_a_choice_there_is_no_mask():
    assert ONE.selected(None, np.arange(6.0)) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [("conv", "chooses none of w, b"), (["v"], "'v', which is not there"), ("(", "no regular expression")],
)
def test_a_choice_of_nothing_is_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        ONE.selected(parameters, np.zeros(6))


def test_nameless_parameters_cannot_be_chosen():
    with pytest.raises(InputError, match="not known"):
        Layout((), (), 3).selected("w", np.zeros(3))


def test_shapes_must_add_up():
    with pytest.raises(InputError, match="add up to 6 numbers, but theta holds 7"):
        Layout(("w", "b"), ((2, 2), (2,)), 7)
