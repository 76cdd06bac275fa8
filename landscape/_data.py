"""Freeze whatever the user calls data into a fixed list of micro-batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from landscape._arguments import check_whole
from landscape.errors import InputError

# Tensors and datasets are cut into at least 16 micro-batches, so that many ranks can share the data of a small problem,
# but with at least 32 samples in each (less does not pay) and at most 512.
SHARES = 16
LEAST, LARGEST = 32, 512
# Items of a dataset, or batches of a loader, that are read twice to see whether they are the same.
CHECKED_ITEMS = 32
CHECKED_BATCHES = 2

Batch = Any


@dataclass(frozen=True)
class FixedData:
    """Micro-batches in a fixed order, on the host.

    Attributes
    ----------
    batches : list
        Trees (tuples, lists, dicts) of tensors.
    sizes : list of int
        Samples per micro-batch.
    digest : str
        SHA-256 of all values in their order.
    """

    batches: list[Batch]
    sizes: list[int]
    digest: str


def freeze(data: Any, micro_batch: int | None = None, samples: int | None = None, seed: int = 0) -> FixedData:
    """Read the data once and keep it.

    Parameters
    ----------
    data : list of batches | DataLoader | Dataset | (X, y) tensors
    micro_batch : int, optional
        Most samples per micro-batch. Default: batches stay as they are given; tensors and datasets are cut into
        balanced micro-batches of at most 512 samples: at least 16 of them, unless that leaves less than 32 in one.
    samples : int, optional
        Keep a random subset of this many samples.
    seed : int
        Of the subset.

    Raises
    ------
    InputError
        If there is no data, or if it changes from one reading to the next.
    """
    batches, whole = _read(data)
    if not batches or all(batch_size(batch) == 0 for batch in batches):
        raise InputError(f"the data is empty: {type(data).__name__} gave no samples")
    batches = [batch for batch in batches if batch_size(batch) > 0]
    if samples is not None:
        batches = _subset(batches, samples, seed)
    if micro_batch is not None:
        check_whole("micro_batch", micro_batch, 1)
    if micro_batch is None and whole:
        micro_batch = max(LEAST, min(LARGEST, -(-sum(map(batch_size, batches)) // SHARES)))
    if micro_batch is not None:
        batches = [part for batch in batches for part in split(batch, micro_batch)]
    return FixedData(batches, [batch_size(batch) for batch in batches], digest(batches))


def batch_size(batch: Batch) -> int:
    """Samples in a batch: the length of the first dimension of its first tensor with dimensions."""
    for leaf in tree_flatten(batch)[0]:
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return int(leaf.shape[0])
    raise InputError(f"a batch must hold tensors whose first dimension counts samples, not {_describe(batch)}")


def rows(batch: Batch, index: Any) -> Batch:
    """Some samples of a batch; every tensor of the batch must have one row per sample."""
    size = batch_size(batch)

    def take(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() == 0:
            return leaf
        if leaf.shape[0] != size:
            raise InputError(
                f"a batch cannot be cut: its tensors have {size} and {leaf.shape[0]} rows. "
                "Give batches of the size wanted and leave out micro_batch and samples"
            )
        return leaf[index]

    return tree_map(take, batch)


def split(batch: Batch, most: int) -> list[Batch]:
    """Cut a batch into balanced parts of at most ``most`` samples."""
    parts = _balanced(batch_size(batch), most)
    return [batch] if len(parts) == 1 else [rows(batch, part) for part in parts]


def mini_batches(batches: Sequence[Batch], size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """One pass over all samples in random order, cut into mini-batches that differ by one sample at most.

    A last one of a few samples would have a gradient that is all noise: with batch norm it can undo a training.
    Batches that cannot be joined, such as padded sequences of different lengths, are visited in random order, each with
    its samples in random order and cut into balanced parts.

    Parameters
    ----------
    batches : sequence
    size : int
        Most samples of a mini-batch.
    seed, epoch : int
        Of the order, from the raw Philox stream, whose bits no version of NumPy changes.

    Raises
    ------
    InputError
        If size, seed or epoch is out of range.
    """
    total = sum(map(batch_size, batches))
    if not 1 <= size <= total:
        raise InputError(f"a mini-batch must have between 1 and all {total} samples, not {size}")
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2**64:
            raise InputError(f"{name} must not be negative, not {value}")
    joined = _join(batches)
    if joined is None:
        for index in _permutation(len(batches), seed, epoch, 1).tolist():
            batch = batches[index]
            yield from split(rows(batch, _permutation(batch_size(batch), seed, epoch, 2 + index)), size)
        return
    order = _permutation(total, seed, epoch, 0)
    for part in _balanced(total, size):
        yield rows(joined, order[part])


def _balanced(size: int, most: int) -> list[slice]:
    """As few parts of at most ``most`` as possible, of lengths that differ by one at most."""
    parts = -(-size // most)
    return [slice(start, stop) for start, stop in pairwise(size * part // parts for part in range(parts + 1))]


def in_words(batch: Batch) -> str:
    """Shapes and dtypes of the tensors of a batch."""
    leaves = [leaf for leaf in tree_flatten(batch)[0] if isinstance(leaf, Tensor)]
    return " and ".join(f"{leaf.dtype} {tuple(leaf.shape)}" for leaf in leaves)


def digest(batches: Iterable[Batch]) -> str:
    """SHA-256 of all values of some batches, in order."""
    result = hashlib.sha256()
    for batch in batches:
        for leaf in tree_flatten(batch)[0]:
            if isinstance(leaf, Tensor):
                result.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
                result.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            else:
                result.update(repr(leaf).encode())
    return result.hexdigest()


def _read(data: Any) -> tuple[list[Batch], bool]:
    """The batches, and whether they are one block that is ours to cut."""
    from torch.utils.data import DataLoader, Dataset

    if isinstance(data, DataLoader):
        return _read_loader(data), False
    if isinstance(data, Dataset):
        return _read_dataset(data), True
    if _is_pair(data):
        pair = tree_map(_as_tensor, tuple(data))
        lengths = [batch_size(part) for part in pair]
        if len(set(lengths)) != 1:
            raise InputError(f"X and y differ in their number of samples: {lengths[0]} and {lengths[1]}")
        return [pair], True
    if isinstance(data, (Mapping, str, bytes, Tensor)) or not isinstance(data, Iterable):
        raise InputError(
            "data must be a list of batches, a DataLoader, a Dataset or a pair of tensors (X, y), not "
            f"{_describe(data)}"
        )
    return [tree_map(_as_tensor, batch) for batch in data], False


def _is_pair(data: Any) -> bool:
    """A tuple (X, y) of tensors or arrays, in contrast to a list of batches."""
    return isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, (Tensor, np.ndarray)) for part in data)


def _as_tensor(leaf: Any) -> Any:
    """A copy, so that nothing outside can change what was frozen."""
    if isinstance(leaf, Tensor):
        return leaf.detach().clone()
    return torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf


def _read_loader(loader: Any) -> list[Batch]:
    from torch.utils.data import RandomSampler

    # Iterating a loader draws a seed from its generator or the global one; the user's random stream must not notice.
    generator = getattr(loader, "generator", None)
    before = None if generator is None else generator.get_state()
    with torch.random.fork_rng(devices=[]):
        if isinstance(getattr(loader, "sampler", None), RandomSampler):
            raise InputError(
                "the DataLoader shuffles (it has a RandomSampler), so its order is not fixed: build it with "
                "shuffle=False"
            )
        batches = [tree_map(_as_tensor, batch) for batch in loader]
        again = [tree_map(_as_tensor, batch) for batch, _ in zip(loader, range(CHECKED_BATCHES), strict=False)]
    if generator is not None:
        generator.set_state(before)
    if digest(batches[: len(again)]) != digest(again):
        same = _sorted_rows(batches) == _sorted_rows(again) if len(batches) <= CHECKED_BATCHES else False
        cause = (
            "it shuffles: use a sampler with a fixed order"
            if same
            else "it shuffles, or its dataset augments samples at random: use a fixed order and no random transform"
        )
        raise InputError(f"the DataLoader gives other batches when it is read again; {cause}")
    return batches


def _read_dataset(dataset: Any) -> list[Batch]:
    from torch.utils.data import default_collate

    length = len(dataset)
    if length == 0:
        return []
    items = [dataset[index] for index in range(length)]
    checked = np.unique(np.linspace(0, length - 1, CHECKED_ITEMS).astype(int)).tolist()
    for index in checked:
        if digest([tree_map(_as_tensor, dataset[index])]) != digest([tree_map(_as_tensor, items[index])]):
            raise InputError(
                f"sample {index} of the dataset differs when it is read again: it augments samples at random. "
                "Use a deterministic transform"
            )
    return [default_collate(items)]


def _sorted_rows(batches: Sequence[Batch]) -> list[str]:
    return sorted(digest([rows(batch, slice(i, i + 1))]) for batch in batches for i in range(batch_size(batch)))


def _subset(batches: list[Batch], samples: int, seed: int) -> list[Batch]:
    total = sum(map(batch_size, batches))
    if not 1 <= samples <= total:
        raise InputError(f"samples must lie between 1 and the {total} samples of the data, not {samples}")
    chosen = np.sort(np.random.default_rng(seed).choice(total, samples, replace=False))
    return list(_chosen_rows(batches, chosen))


def _permutation(length: int, seed: int, epoch: int, stream: int) -> Tensor:
    """A random order of ``length`` things, the same on every computer."""
    bits = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, stream]).random_raw(length)
    return torch.from_numpy(np.argsort(bits, kind="stable"))


def _joinable(batches: Sequence[Batch]) -> bool:
    """Whether the batches differ in nothing but their number of samples and the values."""
    return len({_form(batch) for batch in batches}) == 1


def _form(batch: Batch) -> str:
    leaves, tree = tree_flatten(batch)
    size = batch_size(batch)
    forms: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            forms.append((leaf.dtype, tuple(leaf.shape[1:]), leaf.shape[0] == size))
        else:  # One value for all samples of a batch: joined only with batches that have the same.
            forms.append(leaf.item() if isinstance(leaf, Tensor) else repr(leaf))
    return repr((tree, forms))


def _join(batches: Sequence[Batch]) -> Batch | None:
    """All samples in one batch, or None if the batches cannot be joined."""
    if not _joinable(batches):
        return None
    if len(batches) == 1:
        return batches[0]
    return tree_map(
        lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], Tensor) and leaves[0].dim() > 0 else leaves[0],
        *batches,
    )


def _chosen_rows(batches: list[Batch], chosen: np.ndarray) -> Iterator[Batch]:
    start = 0
    for batch in batches:
        stop = start + batch_size(batch)
        mine = chosen[(chosen >= start) & (chosen < stop)] - start
        if len(mine):
            yield rows(batch, torch.from_numpy(mine))
        start = stop


def _describe(value: Any) -> str:
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"
