from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape.geometry import CouplingGraph
from landscape.geometry.axis_labels import fix, halves, member_of, pair, unified
from landscape.geometry.axis_terms import Fixed, Product, Space, Sum, Uniform, multiplied, resolved, summed
from landscape.geometry.permuting import permuted_state, random_permutations
from tests.geometry.networks import output, state_of


def test_spaces_become_one():
    a, b, c = (Space(6) for _ in range(3))
    unified(a, b)
    unified(b, c)
    assert resolved(a) is resolved(c)
    unified(c, Fixed(6))
    assert resolved(a) == resolved(b) == Fixed(6)


def test_a_part_that_meets_something_fixed_leaves_the_other_part_free():
    whole, part = Space(7), Space(4)
    unified(whole, summed([Fixed(3), part]))
    assert resolved(whole) == Sum((Fixed(3), part))
    assert halves(whole, 3) == (Fixed(3), part)


def test_zeros_beside_channels_say_nothing_of_their_order():
    wide, narrow = Space(7), Space(4)
    merged = unified(summed([narrow, Uniform(3)]), wide)
    assert isinstance(merged, Sum) and merged.parts[0] is narrow
    assert isinstance(merged.parts[1], Space) and merged.parts[1].size == 3


def test_heads_are_told_apart_where_query_and_key_are():
    packed = Space(24)
    three, rest = pair(packed, 3)
    heads, features = pair(rest, 2)
    key = fix(three)
    (query_heads, query), (key_heads, keys) = (member_of([heads, features], key, index) for index in (0, 1))
    unified(query_heads, key_heads)
    unified(query, keys)
    first, second, third = resolved(packed).parts
    assert first == second == multiplied([query_heads, query]) and third != first
    assert isinstance(query, Space) and query.parents == (resolved(query_heads),)


def test_what_is_shared_by_all_heads_is_permuted_alike_in_all():
    _, features = pair(Space(12), 3)
    unified(features, Space(4))
    assert resolved(features).parents == ()


def test_products_that_do_not_fit_are_fixed():
    first, second = (Product((Space(a), Space(b))) for a, b in ((4, 6), (6, 4)))
    assert unified(first, second) == Fixed(24)


class Program(nn.Module):
    """A network of operations by chance: what it computes is not interesting, but what may be permuted in it is."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = np.random.default_rng(seed)
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        self.layers = nn.ModuleList([nn.Linear(5, 16)])
        width = 16
        for _ in range(6):
            kind = str(generator.choice(KINDS))
            number = len(self.layers)
            if kind == "linear":
                wide = int(generator.choice([8, 16, 24]))
                self.layers.append(nn.Linear(width, wide))
                width = wide
            elif kind in ("residual", "beside", "scaled", "stacked"):
                self.layers.append(nn.Linear(width, width))
                width = 2 * width if kind == "beside" else width
            elif kind == "places":
                self.layers.append(nn.Linear(4, 4))
            elif kind == "attention":
                self.layers.append(nn.Linear(width, 3 * width))
            elif kind in ("gates", "glu"):
                self.layers.append(nn.Linear(width, 2 * width))
            elif kind == "norm":
                self.layers.append(nn.LayerNorm(width))
            elif kind == "groups":
                self.layers.append(nn.GroupNorm(4, width))
            elif kind == "window":
                self.layers.append(
                    nn.Conv1d(width, width, 3, padding=1, groups=int(generator.choice([1, 2, 4, width])))
                )
            elif kind == "padded":
                width += 8
            elif kind == "cut":
                width -= 8 if width > 8 else 0
            self.steps.append((kind, (number,)))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.layers[0](x)
        for kind, (number,) in self.steps:
            layer = self.layers[number] if number < len(self.layers) else None
            x = STEPS[kind](x, layer)
        return self.head(x.mean(1))


def attention(x, layer):
    heads = 2
    split = layer(x).view(*x.shape[:2], 3, heads, x.shape[2] // heads)
    query, key, value = split.permute(2, 0, 3, 1, 4)
    return x + functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape)


def written(x, _):
    result = torch.zeros_like(x)
    result[..., 8:] = x[..., : x.shape[-1] - 8] if x.shape[-1] > 8 else x[..., 8:]
    result[..., :8] = 2 * x[..., -8:]
    return result


def gates(x, layer):
    value, gate = layer(x).chunk(2, -1)
    return value * torch.sigmoid(gate)


STEPS = {
    "linear": lambda x, layer: torch.tanh(layer(x)),
    "residual": lambda x, layer: x + functional.gelu(layer(x)),
    "beside": lambda x, layer: torch.cat([x, torch.tanh(layer(x))], -1),
    "scaled": lambda x, layer: x * layer(x).softmax(-1),
    "places": lambda x, layer: layer(x.transpose(1, 2)).transpose(1, 2),
    "attention": attention,
    "gates": gates,
    "glu": lambda x, layer: functional.glu(layer(x)),
    "stacked": lambda x, layer: torch.stack([x, torch.tanh(layer(x)), -x], 1).amax(1),
    "written": written,
    "inside": lambda x, _: (
        x
        / (1 + x.unflatten(-1, (4, -1)).norm(dim=-1, keepdim=True)).repeat_interleave(x.shape[-1] // 4, -1).flatten(-2)
    ),
    "norm": lambda x, layer: layer(x),
    "groups": lambda x, layer: layer(x.transpose(1, 2)).transpose(1, 2),
    "window": lambda x, layer: torch.relu(layer(x.transpose(1, 2))).transpose(1, 2),
    "padded": lambda x, _: functional.pad(x, (0, 8), value=0.5),
    "cut": lambda x, _: x[..., 8:] if x.shape[-1] > 8 else x,
    "shuffled": lambda x, _: x.reshape(*x.shape[:2], 4, -1).transpose(2, 3).reshape(x.shape),
    "pooled": lambda x, _: x / (1 + x.abs().amax(-1, keepdim=True)),
    "summed": lambda x, _: x.cumsum(1),
    "turned": lambda x, _: x.flip(-1),
}
KINDS = list(STEPS)


@pytest.mark.parametrize(
    "seeds", [range(5), range(5, 10), range(10, 15), pytest.param(range(15, 200), marks=pytest.mark.slow)], ids=str
)
def test_programs_by_chance_keep_their_function(seeds):
    free = 0
    for seed in seeds:
        torch.manual_seed(seed)
        module = Program(seed).double().eval()
        data = torch.randn(3, 4, 5, dtype=torch.float64)
        graph, state = CouplingGraph.of(module, data[:2]), state_of(module)
        free += len(graph.spaces)
        for again in range(2):
            moved = permuted_state(state, graph, random_permutations(graph, again))
            before, after = output(module, state, data), output(module, moved, data)
            assert float((before - after).abs().max() / before.abs().max()) < 1e-11, (seed, module.steps)
    assert free > len(seeds)
