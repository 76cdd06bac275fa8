"""Mini-batches: every sample once per pass, in an order that is the same everywhere."""

from __future__ import annotations

import pytest
import torch

import landscape as ls
from landscape._data import mini_batches


def pairs(samples: int = 23, size: int = 9) -> list[tuple[torch.Tensor, torch.Tensor]]:
    index = torch.arange(samples)
    return list(zip(torch.stack([index, -index], 1).split(size), index.split(size), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 5, 23])
def test_every_sample_comes_once_with_its_target(size: int, seed: int) -> None:
    found = list(mini_batches(pairs(), size, seed, 4))
    assert len(found) == -(-23 // size)
    sizes = [len(target) for _, target in found]
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1
    inputs, targets = (torch.cat([batch[side] for batch in found]) for side in (0, 1))
    assert torch.equal(inputs, torch.stack([targets, -targets], 1))
    assert sorted(targets.tolist()) == list(range(23)) and targets.tolist() != list(range(23))


def test_the_order_belongs_to_seed_and_epoch_and_not_to_the_micro_batches() -> None:
    def order(seed: int, epoch: int, cut: int = 9) -> list[int]:
        return torch.cat([target for _, target in mini_batches(pairs(size=cut), 4, seed, epoch)]).tolist()

    assert order(0, 0) == order(0, 0) == order(0, 0, cut=5)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x64-10 of Salmon, Moraes, Dror, Shaw, SC 2011, written down from the paper."""
    c, (k0, k1), mask = counter, key, 2**64 - 1
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(second >> 64) ^ c[1] ^ k0, second & mask, (first >> 64) ^ c[3] ^ k1, first & mask]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return c


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 0), (7, 12)])
def test_the_order_is_that_of_the_published_generator(seed: int, epoch: int) -> None:
    bits = [value for block in range(6) for value in philox([block + 1, 0, 0, 0], [seed, epoch])][:23]
    expected = sorted(range(23), key=bits.__getitem__)
    assert torch.cat([target for _, target in mini_batches(pairs(), 4, seed, epoch)]).tolist() == expected


def test_dictionaries_and_values_without_samples_survive() -> None:
    batches = [{"x": x, "y": y, "scale": torch.tensor(2.0), "kind": "a"} for x, y in pairs()]
    found = list(mini_batches(batches, 7, 0, 0))
    assert all(batch["scale"] == 2 and batch["kind"] == "a" for batch in found)
    assert sorted(torch.cat([batch["y"] for batch in found]).tolist()) == list(range(23))


def test_batches_that_cannot_be_joined_are_visited_one_by_one() -> None:
    sequences = [torch.full((samples, length), length) for samples, length in ((5, 3), (4, 7), (6, 2))]
    batches = [(one, one[:, 0]) for one in sequences]
    found = list(mini_batches(batches, 3, 0, 0))
    assert len(found) == 6
    assert all(bool((inputs == inputs.shape[1]).all()) and len(inputs) <= 3 for inputs, _ in found)
    assert sum(len(inputs) for inputs, _ in found) == 15
    orders = {tuple(inputs.shape[1] for inputs, _ in mini_batches(batches, 3, seed, 0)) for seed in range(6)}
    assert len(orders) > 1


@pytest.mark.parametrize(("size", "message"), [(0, "between 1 and all 23 samples, not 0"), (24, "all 23 samples")])
def test_a_size_out_of_range_is_refused(size: int, message: str) -> None:
    with pytest.raises(ls.InputError, match=message):
        list(mini_batches(pairs(), size, 0, 0))
    with pytest.raises(ls.InputError, match="seed must not be negative, not -1"):
        list(mini_batches(pairs(), 5, -1, 0))
