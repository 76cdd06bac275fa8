"""What layers do to the labels of axes: products that add up along an axis, norms, means, tables, windows.

Operations are those of ATen, into which torch takes every layer and function apart, so that a few dozen rules hold for
networks however they are written. A rule takes a :class:`Call`, makes axes agree that must, and returns the labels of
the result's axes, or one list of them for each result.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from landscape.geometry.axis_labels import blocks, bound, closed, fix, halves, unified
from landscape.geometry.axis_terms import Fixed, Space, Term, Uniform, multiplied, ordered, resolved
from landscape.geometry.operation_call import Call, Labels, Rules, broadcast, tree_of

RULES = Rules()


@RULES.of(
    "clone", "_to_copy", "detach", "alias", "lift_fresh_copy", "_softmax", "_log_softmax", "_safe_softmax", "copy"
)
@RULES.of("dropout", "native_dropout", "_prelu_kernel", "where", "masked_fill", "bernoulli")
def elementwise(call: Call) -> Any:
    """Number by number, or equally for all orders."""
    operands = [call.labels[node] for node in call.nodes()]
    if not isinstance(call.value, Tensor):
        return [broadcast(tuple(one.shape), operands) for one in call.value]
    return broadcast(call.shape, operands)


@RULES.of("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "scalar_tensor")
@RULES.of("zeros_like", "ones_like", "full_like")
def constant(call: Call) -> Labels:
    """The same number everywhere."""
    return [Uniform(size) for size in call.shape]


@RULES.of("mm")
def mm(call: Call) -> Labels:
    """``(n, k) (k, m)``."""
    return _product(call.terms("self"), call.terms("mat2"))


@RULES.of("addmm")
def addmm(call: Call) -> Labels:
    """A bias and a product."""
    return broadcast(call.shape, [_product(call.terms("mat1"), call.terms("mat2")), call.terms("self")])


@RULES.of("mv")
def mv(call: Call) -> Labels:
    """``(n, k) (k)``."""
    rows, columns = call.terms("self")
    unified(columns, call.terms("vec")[0])
    return closed([rows])


@RULES.of("dot", "vdot")
def dot(call: Call) -> Labels:
    """``(k) (k)``."""
    unified(call.terms("self")[0], call.terms("tensor" if call.given("tensor") else "other")[0])
    return []


@RULES.of("bmm")
def bmm(call: Call) -> Labels:
    """``(b, n, k) (b, k, m)``: the batches agree first, since what is inside may depend on them."""
    return _batch_product(call.terms("self"), call.terms("mat2"))


@RULES.of("baddbmm")
def baddbmm(call: Call) -> Labels:
    """A bias and products."""
    return broadcast(call.shape, [_batch_product(call.terms("batch1"), call.terms("batch2")), call.terms("self")])


@RULES.of("linear")
def linear(call: Call) -> Labels:
    """``(…, k) (m, k)ᵀ``."""
    *before, last = call.terms("input")
    rows, columns = call.terms("weight")
    unified(last, columns)
    if call.given("bias"):
        unified(rows, call.terms("bias")[0])
    return closed([*before, rows])


def _product(first: Labels, second: Labels) -> Labels:
    unified(first[1], second[0])
    return closed([first[0], second[1]])


def _batch_product(first: Labels, second: Labels) -> Labels:
    batch = unified(first[0], second[0])
    unified(first[2], second[1])
    return closed([batch, first[1], second[2]])


@RULES.of("convolution", "_convolution")
def convolution(call: Call) -> Labels:
    """Channels in and out; with groups they are blocks, whose inside may be permuted block by block."""
    samples, channels, *space = call.terms("input")
    first, second, *window = call.terms("weight")
    for term in (*space, *window):
        fix(term)
    groups, transposed = call.arguments["groups"], call.arguments["transposed"]
    if groups == 1:
        inward, outward = (first, second) if transposed else (second, first)
        unified(channels, inward)
    else:
        outward = _grouped(channels, first, second, groups, transposed)
    if call.given("bias"):
        outward = unified(outward, call.terms("bias")[0])
    return closed([samples, outward, *(Fixed(size) for size in call.shape[2:])])


def _grouped(channels: Term, first: Term, second: Term, groups: int, transposed: bool) -> Term:
    """Channels that come out of a convolution in groups."""
    if transposed:
        channels = unified(channels, first)
        block, _ = blocks(channels, groups)
        above = [block] if isinstance(block, Space) and not block.fixed else []
        _take(second, Space(second.size, above))
        return multiplied([block, second])
    block, inside = blocks(channels, groups)
    around, _ = blocks(first, groups)
    unified(block, around)
    _take(second, inside)
    return first


def _take(free: Term, term: Term) -> None:
    """Let an axis of a parameter be what it meets, also where that depends on another axis of the parameter."""
    free = resolved(free)
    if isinstance(free, Space) and not (free.parents or free.children or free.fixed):
        bound(free, term)
    else:
        unified(free, term)


@RULES.of("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
@RULES.of("batch_norm_with_update", "_batch_norm_with_update", "_batch_norm_no_update", "native_group_norm")
def channel_norm(call: Call) -> Any:
    """One number for each channel; with groups of channels, these are blocks."""
    terms = call.terms("input")
    if "group" in call.arguments:
        blocks(terms[1], call.arguments["group"])
        terms[1] = ordered(terms[1])  # what is uniform comes out different in each group
    channels = terms[1]
    for which in ("weight", "bias", "running_mean", "running_var"):
        if call.given(which):
            channels = unified(channels, call.terms(which)[0])
    terms[1] = channels
    return [closed(terms), *(tree_of(one) for one in call.value[1:])]


@RULES.of("native_layer_norm", "_fused_rms_norm")
def layer_norm(call: Call) -> Any:
    """Statistics of the last axes together, which do not depend on their order."""
    terms = call.terms("input")
    for which in ("weight", "bias"):
        if call.given(which):
            inner = call.terms(which)
            terms[-len(inner) :] = [unified(one, two) for one, two in zip(terms[-len(inner) :], inner, strict=True)]
    kept = len(terms) - len(call.arguments["normalized_shape"])
    others = [[*terms[:kept], *(Fixed(1) for _ in terms[kept:])] for _ in call.value[1:]]
    return [closed(terms), *map(closed, others)]


@RULES.of("embedding")
def embedding(call: Call) -> Labels:
    """Rows that are chosen by number cannot change their places."""
    rows, columns = call.terms("weight")
    fix(rows)
    return [*map(fix, call.terms("indices")), columns]


@RULES.of("index_select")
def index_select(call: Call) -> Labels:
    """As an embedding, along any axis."""
    terms = call.terms("self")
    axis = call.arguments["dim"] % len(terms)
    fix(terms[axis])
    fix(call.terms("index")[0]) if call.terms("index") else None
    terms[axis] = Fixed(call.shape[axis])
    return closed(terms)


@RULES.of("index")
def index(call: Call) -> Labels:
    """Axes that are indexed by tensors cannot be permuted."""
    terms, indices = call.terms("self"), call.arguments["indices"]
    places = [axis for axis, one in enumerate(indices) if one is not None]
    for term in (*(terms[axis] for axis in places), *(t for axis in places for t in call.labels[indices[axis]])):
        fix(term)
    rest = [term for axis, term in enumerate(terms) if axis not in places]
    new = [Fixed(size) for size in call.shape]
    together = places == list(range(places[0], places[-1] + 1))
    start, count = (places[0] if together else 0), len(call.shape) - len(rest)
    return closed([*rest[:start], *new[start : start + count], *rest[start:]])


@RULES.of("sum", "mean", "amax", "amin", "prod", "any", "all", "logsumexp", "linalg_vector_norm", "norm")
@RULES.of("var", "std", "var_mean", "std_mean", "max", "min", "count_nonzero")
def reduction(call: Call) -> Any:
    """What does not depend on the order along the axes that it takes together."""
    terms = call.terms("self")
    asked = call.arguments.get("dim")
    axes = range(len(terms)) if asked is None or asked == [] else [asked] if isinstance(asked, int) else asked
    gone = {axis % max(1, len(terms)) for axis in axes}
    kept = call.arguments.get("keepdim", False)
    if not isinstance(call.value, Tensor) and call.name in ("max", "min"):  # the place is a result, too
        for axis in gone:
            fix(terms[axis])
    left = [Fixed(1) if axis in gone else term for axis, term in enumerate(terms) if kept or axis not in gone]
    if isinstance(call.value, Tensor):
        return closed(left)
    return [closed(left) for _ in call.value]


SPATIAL = re.compile(r"(pool|upsample\w*|reflection_pad|replication_pad|grid_sampler_)(_\w+?)?(\d)d")


def spatial(call: Call) -> Any:
    """Neighbours along the last axes; channels and samples are apart."""
    match = SPATIAL.search(call.name)
    count = int(match.group(3)) if match else 0
    terms = call.terms("self" if "self" in call.arguments else "input")
    for term in terms[len(terms) - count :]:
        fix(term)

    def of(value: Tensor) -> Labels:
        return closed([*terms[: len(terms) - count], *(Fixed(size) for size in value.shape[len(terms) - count :])])

    return of(call.value) if isinstance(call.value, Tensor) else [of(one) for one in call.value]


@RULES.of("glu")
def gated_halves(call: Call) -> Labels:
    """Each number of one half of an axis with one of the other half."""
    terms = call.terms("self")
    axis = call.arguments["dim"] % len(terms)
    terms[axis] = unified(*halves(terms[axis], terms[axis].size // 2))
    return closed(terms)


@RULES.of("_weight_norm_interface")
def weight_norm(call: Call) -> Any:
    """Rows of a matrix with lengths of their own; those before come out, too."""
    terms, lengths = call.terms("v"), call.labels[call.arguments["g"]]
    terms = [one if other.size == 1 else unified(one, other) for one, other in zip(terms, lengths, strict=True)]
    return [closed(terms), closed(lengths)]


@RULES.of("im2col")
def windows(call: Call) -> Labels:
    """Pixels of a window beside each other, channel by channel."""
    *before, channels, height, width = call.terms("self")
    fix(height)
    fix(width)
    window = call.shape[-2] // channels.size
    return closed([*before, multiplied([resolved(channels), Fixed(window)]), Fixed(call.shape[-1])])
