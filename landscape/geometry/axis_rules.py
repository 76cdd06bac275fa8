"""What becomes of the labels of axes that are cut, joined, moved, stretched or picked from."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from landscape.geometry.axis_labels import closed, fix, halves, member_of, pair, stacked, unified
from landscape.geometry.axis_terms import Fixed, Term, Uniform, multiplied, resolved, summed
from landscape.geometry.operation_call import Call, Labels, Rules, Shape, broadcast

RULES = Rules()


@RULES.of("view", "_unsafe_view", "reshape", "_reshape_alias")
def view(call: Call) -> Labels:
    """Axes are cut and joined; those that are joined, or cut from the same one, in groups of equal size."""
    old, sizes = call.terms("self"), list(call.shape)
    if prod(sizes) == 0:
        return [Fixed(size) for size in sizes]
    result: Labels = []
    while sizes or old:
        wanted, block = [sizes.pop(0)] if sizes else [], [old.pop(0)] if old else []
        while (there := prod(term.size for term in block)) != (size := prod(wanted)):
            if there < size:
                block.append(old.pop(0))
            else:
                wanted.append(sizes.pop(0))
        term = multiplied([resolved(one) for one in block])
        for size in wanted[:-1]:
            outer, term = pair(term, size)
            result.append(outer)
        result += [term] if wanted else []
    return closed(result)


@RULES.of("t", "transpose", "permute")
def permute(call: Call) -> Labels:
    """Another order of the axes."""
    terms = call.terms("self")
    order = list(range(len(terms)))
    if "dims" in call.arguments:
        order = [axis % len(terms) for axis in call.arguments["dims"]]
    elif len(terms) > 1:
        one, other = (call.arguments.get(name, default) for name, default in (("dim0", 0), ("dim1", 1)))
        order[one], order[other] = order[other], order[one]
    return [terms[axis] for axis in order]


@RULES.of("squeeze", "unsqueeze")
def squeeze(call: Call) -> Labels:
    """Axes of length 1 come and go."""
    terms = call.terms("self")
    if call.name == "unsqueeze":
        terms.insert(call.arguments["dim"] % (len(terms) + 1), Fixed(1))
        return terms
    asked = call.arguments.get("dim", range(len(terms)))
    axes = {axis % max(1, len(terms)) for axis in ([asked] if isinstance(asked, int) else asked)}
    return [term for axis, term in enumerate(terms) if axis not in axes or term.size != 1]


@RULES.of("expand")
def expand(call: Call) -> Labels:
    """Axes of length 1 are stretched."""
    return broadcast(call.shape, [call.terms("self")])


@RULES.of("repeat")
def repeat(call: Call) -> Labels:
    """Copies one after the other."""
    terms, times = call.terms("self"), call.arguments["repeats"]
    terms = [*(Fixed(1) for _ in range(len(times) - len(terms))), *terms]
    return [
        Uniform(count) if term.size == 1 else multiplied([Fixed(count), resolved(term)])
        for term, count in zip(terms, times, strict=True)
    ]


@RULES.of("slice")
def cut(call: Call) -> Labels:
    """A part of an axis."""
    terms = call.terms("self")
    axis = (call.arguments.get("dim") or 0) % len(terms)
    size, step = terms[axis].size, call.arguments.get("step") or 1
    start = _clamped(call.arguments.get("start"), 0, size)
    if step != 1:
        fix(terms[axis])
        terms[axis] = Fixed(call.shape[axis])
    else:
        terms[axis] = halves(halves(terms[axis], start)[1], call.shape[axis])[0]
    return closed(terms)


def _clamped(value: int | None, default: int, size: int) -> int:
    if value is None:
        return default
    return min(max(value + size if value < 0 else value, 0), size)


@RULES.of("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "chunk")
def split(call: Call) -> list[Labels]:
    """Parts of an axis."""
    terms = call.terms("self")
    axis = call.arguments.get("dim", 0) % len(terms)
    lengths = [one.shape[axis] for one in call.value]
    rest: Term = terms[axis]
    parts: list[Labels] = []
    for length in lengths:
        part, rest = halves(rest, length)
        parts.append([*terms[:axis], part, *terms[axis + 1 :]])
    return [closed(part) for part in parts]


@RULES.of("select")
def select(call: Call) -> Labels:
    """One index of an axis."""
    terms = call.terms("self")
    axis = call.arguments["dim"] % len(terms)
    return _one_of(terms, axis, call.arguments["index"] % terms[axis].size)


@RULES.of("unbind")
def unbind(call: Call) -> list[Labels]:
    """Each index of an axis."""
    terms = call.terms("self")
    axis = call.arguments.get("dim", 0) % len(terms)
    return [_one_of(terms, axis, index) for index in range(len(call.value))]


def _one_of(terms: Labels, axis: int, index: int) -> Labels:
    key = fix(terms[axis])
    return closed(member_of([*terms[:axis], *terms[axis + 1 :]], key, index))


@RULES.of("cat")
def cat(call: Call) -> Labels:
    """Axes one after the other; the others agree."""
    parts = [call.labels[node] for node in call.arguments["tensors"]]
    parts = [part for part in parts if [term.size for term in part] != [0]]
    axis = call.arguments.get("dim", 0) % len(parts[0])
    return _joined(parts, axis, summed([resolved(part[axis]) for part in parts]))


@RULES.of("stack")
def stack(call: Call) -> Labels:
    """Tensors side by side along a new axis, whose index tells them apart."""
    parts = [call.labels[node] for node in call.arguments["tensors"]]
    axis = call.arguments["dim"] % (len(parts[0]) + 1)
    key, result = stacked([[part[other] for part in parts] for other in range(len(parts[0]))])
    return closed([*result[:axis], key, *result[axis:]])


@RULES.of("slice_scatter")
def write_slice(call: Call) -> Labels:
    """A part of an axis comes from another tensor."""
    terms, source = call.terms("self"), call.terms("src")
    axis = (call.arguments["dim"] or 0) % len(terms)
    whole, length = terms[axis], source[axis].size
    if call.arguments["step"] not in (None, 1):
        fix(whole)
        fix(source[axis])
        return _joined([source, terms], axis, Fixed(whole.size))
    before, rest = halves(whole, _clamped(call.arguments["start"], 0, whole.size))
    return _joined([source, terms], axis, summed([before, resolved(source[axis]), halves(rest, length)[1]]))


def _joined(parts: Sequence[Labels], axis: int, joined: Term) -> Labels:
    result = list(parts[0])
    for part in parts[1:]:
        for other, term in enumerate(part):
            if other != axis:
                result[other] = unified(result[other], term)
    result[axis] = joined
    return closed(result)


@RULES.of("constant_pad_nd")
def pad(call: Call) -> Labels:
    """A constant before and after; negative amounts cut."""
    terms, amounts = call.terms("self"), call.arguments["pad"]
    for number in range(len(amounts) // 2):
        axis, (before, after) = len(terms) - 1 - number, amounts[2 * number : 2 * number + 2]
        term = terms[axis]
        if before < 0:
            term = halves(term, -before)[1]
        if after < 0:
            term = halves(term, term.size + after)[0]
        terms[axis] = summed([Uniform(max(before, 0)), resolved(term), Uniform(max(after, 0))])
    return closed(terms)


@RULES.of(
    "cumsum", "cumprod", "logcumsumexp", "flip", "roll", "sort", "topk", "argmax", "argmin", "tril", "triu", "argsort"
)
def in_order(call: Call) -> Any:
    """What depends on the order along some axes, and treats the others alike."""
    terms = call.terms("self")
    asked = call.arguments.get("dim", call.arguments.get("dims"))
    if call.name in ("tril", "triu"):
        asked = [-2, -1]
    axes = range(len(terms)) if asked in (None, []) else [asked] if isinstance(asked, int) else asked
    for axis in axes:
        size = terms[axis].size
        fix(terms[axis])
        terms[axis] = Fixed(size)
    results = [call.value] if isinstance(call.value, Tensor) else list(call.value)
    there = {axis % len(terms) for axis in axes}
    out = [_resized(terms, tuple(one.shape), there) for one in results]
    return out[0] if isinstance(call.value, Tensor) else out


def _resized(terms: Labels, shape: Shape, axes: set[int]) -> Labels:
    if len(shape) < len(terms):
        return closed([term for axis, term in enumerate(terms) if axis not in axes])
    return closed([Fixed(shape[axis]) if axis in axes else term for axis, term in enumerate(terms)])


@RULES.of("pixel_shuffle")
def pixel_shuffle(call: Call) -> Labels:
    """Channels become pixels."""
    *before, channels, height, width = call.terms("self")
    outer, inner = pair(channels, channels.size // call.arguments["upscale_factor"] ** 2)
    for term in (inner, height, width):
        fix(term)
    return closed([*before, outer, *(Fixed(size) for size in call.shape[-2:])])


@RULES.of("channel_shuffle")
def channel_shuffle(call: Call) -> Labels:
    """Blocks of channels are mixed."""
    samples, channels, *space = call.terms("self")
    outer, inner = pair(channels, call.arguments["groups"])
    return closed([samples, multiplied([inner, outer]), *space])
