"""Loss and metrics at many points: one network whose parameters are views of one vector that is written in place."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from landscape._batch_norm import norms_of
from landscape._blocked import BlockedNetwork, Input, RangeError
from landscape._channels_last import ChannelsLastNetwork
from landscape._data import Batch, batch_size, rows
from landscape.objective import Objective

# Micro-batches are cut for derivatives; a forward pass keeps much less. They are merged while the largest output of a
# layer stays below so many bytes (measured on one core: larger passes gain nothing, smaller ones cost up to a fifth) …
LAYER_BYTES = {"cpu": 2**22, "cuda": 2**27}
# … and the copies of all data below so many.
DATA_BYTES = 2**29
# The GNU C library returns freed memory to the system at once, and the page faults of the next layer cost more than
# the layer, unless a block of so many bytes (its limit is 32 MiB) was freed once: then it keeps twice that.
KEPT_BYTES = 31 * 2**20
# How far the merged sums may be from those over micro-batches, relative, in units of the precision of theta.
TOLERANCE = 100.0

Buffers = Mapping[str, Tensor]
# Sees output, batch, numerator of the loss and whether the batch counts, of every group of a pass.
Watch = Callable[[Any, Batch, float, bool], None]


@dataclass
class Group:
    """Micro-batches that go through the network together.

    Attributes
    ----------
    batch : tree of tensors
    sizes : list of int
        Samples of its micro-batches.
    denominator : float
        Of the loss.
    blocked : Input, optional
        The input as the network wants it.
    """

    batch: Batch
    sizes: list[int]
    denominator: float
    blocked: Input | None = None
    counted: bool = field(init=False)

    def __post_init__(self) -> None:
        self.counted = self.denominator > 0


class Evaluator:
    """Loss and metrics of an objective at any point, by this rank alone and over all data.

    The user's model, the objective and the random state stay as they are. NaN and inf are results, not errors.

    Parameters
    ----------
    objective : Objective
        Not collective: its grid is not used.
    merged : bool
        Let micro-batches go through the network together, convolutions in the blocked layout of oneDNN, where that
        gives the same numbers but for rounding (see :meth:`check`). Without it, arithmetic and bits are those of
        ``objective.at(point).loss()``.
    batch_statistics : bool
        Let batch norm use the statistics of each micro-batch, as in training; then nothing is merged.
    layer_bytes : int, optional
        Largest output of a layer of merged micro-batches.
    """

    def __init__(
        self,
        objective: Objective,
        merged: bool = True,
        *,
        batch_statistics: bool = False,
        layer_bytes: int | None = None,
    ) -> None:
        self.objective = objective
        self.names = tuple(objective.metrics)
        self.merged = merged and not objective.opaque and not batch_statistics
        self._layer_bytes = layer_bytes or LAYER_BYTES.get(objective.device.type, LAYER_BYTES["cpu"])
        # What is known to be a mean over samples; the other metrics are computed for each micro-batch.
        self._separate = set(self.names)
        self._checks = 0
        self.watch: Watch | None = None
        network = objective._network
        self._scope = network.scope
        self._module = copy.deepcopy(network.module)
        if batch_statistics:
            for norm in norms_of(self._module).values():
                norm.train()
        self._theta = objective.theta.clone()
        self._held: Buffers = objective.buffers
        self._bind()
        if objective.device.type == "cpu":
            torch.empty(KEPT_BYTES, dtype=torch.uint8)
        with self._quiet():
            self._groups = self._merge() if self.merged else self._plain()
            self._forward = self._find_forward() if self.merged else None

    @property
    def layout(self) -> str:
        """How convolutions are computed, "blocked", "channels last" or "plain"."""
        return "plain" if self._forward is None else self._forward.layout

    @property
    def passes(self) -> int:
        """Forward passes per point."""
        return len(self._groups)

    def evaluate(self, theta: Tensor, buffers: Buffers | None = None) -> list[float]:
        """Loss and metrics at a point, in the order of the objective's metrics.

        Parameters
        ----------
        theta : (n,) tensor
        buffers : dict of tensors, optional
            Batch-norm statistics; default: those of the objective.

        Returns
        -------
        list of float
            NaN or inf where there is no value.
        """
        if not bool(torch.isfinite(theta).all()):
            return [math.nan] * (1 + len(self.names))
        self._theta.copy_(theta)
        self._held = held = {**self.objective.buffers, **(buffers or {})}
        with self._quiet():
            try:
                if self._forward is not None:
                    self._set_buffers(held)
                    self._forward.prepare()
                parts = [self._of_group(group, held) for group in self._groups]
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                return [math.nan] * (1 + len(self.names))
        decay = 0.5 * self.objective.weight_decay * float(torch.sum(self._theta.double() ** 2))
        loss = _sum(part[0] for part in parts) / self.objective.denominator + decay
        means = [_sum(values) / self.objective.samples for values in list(zip(*parts, strict=True))[1:]]
        return [loss, *(math.nan if math.isnan(loss) else value for value in means)]

    def check(self, theta: Tensor) -> bool:
        """Whether merging and layout give the same numbers at a point as the objective's own arithmetic.

        Metrics that are found to be means over samples are computed for merged micro-batches from then on. If the loss
        differs, nothing is: this object is then as one with ``merged=False``.
        """
        if not self.merged:
            return True
        plain = Evaluator(self.objective, merged=False)
        expected, found = plain.evaluate(theta), self.evaluate(theta)
        tolerance = TOLERANCE * torch.finfo(theta.dtype).eps
        if not _close(found[0], expected[0], tolerance):
            self.merged, self._forward, self._groups = False, None, plain._groups
            return False
        if math.isfinite(found[0]):  # a metric of NaN outputs may raise
            others = self._not_means()
            self._separate = others if self._checks == 0 else self._separate | others
            self._checks += 1
        return True

    def separate(self, names: set[str], merged: bool) -> None:
        """Do as another rank found necessary: these metrics for each micro-batch; if not merged, everything."""
        self._separate |= names
        if self.merged and not merged:
            self.merged, self._forward, self._groups = False, None, self._plain()

    @property
    def separated(self) -> set[str]:
        """Metrics that are computed for each micro-batch."""
        return set(self._separate)

    def _of_group(self, group: Group, held: Buffers) -> list[float]:
        """Numerators of the loss and of the metrics."""
        objective = self.objective
        batch = objective._on_device(group.batch)
        if objective.opaque:
            self._set_buffers(held)
            loss = objective._loss.numerator(self._module, batch, group.denominator).item() if group.counted else 0.0
            if self.watch is not None:
                self.watch(None, batch, loss, group.counted)
            return [loss, *(self._opaque_metric(name, batch, held) for name in self.names)]
        output = self._output(group, batch, held)
        loss = objective.of_output(output, batch[1], group.denominator).item() if group.counted else 0.0
        if self.watch is not None:
            self.watch(output, batch, loss, group.counted)
        if math.isnan(loss):  # a metric of NaN outputs may be a number, or raise
            return [loss] + [math.nan] * len(self.names)
        return [loss, *(self._metric(name, output, batch[1], group.sizes) for name in self.names)]

    def _output(self, group: Group, batch: Batch, held: Buffers) -> Any:
        if self._forward is not None and group.blocked is not None:
            try:
                return self._forward(group.blocked)
            except RangeError:
                pass
        self._set_buffers(held)  # the network may write to them
        return self._module(batch[0])

    def _metric(self, name: str, output: Any, target: Any, sizes: list[int]) -> float:
        metric = self.objective.metrics[name]
        if name not in self._separate or len(sizes) == 1:
            return float(metric(output, target)) * sum(sizes)
        return self._by_micro_batch(metric, output, target, sizes)

    def _by_micro_batch(self, metric: Callable[..., Any], output: Any, target: Any, sizes: list[int]) -> float:
        edges = [0, *accumulate(sizes)]
        parts = [slice(start, stop) for start, stop in pairwise(edges)]
        return _sum(
            float(metric(rows(output, part), rows(target, part))) * size
            for part, size in zip(parts, sizes, strict=True)
        )

    def _opaque_metric(self, name: str, batch: Batch, held: Buffers) -> float:
        self._set_buffers(held)
        return float(self.objective.metrics[name](self._module, batch)) * batch_size(batch)

    def _not_means(self) -> set[str]:
        """Metrics whose value for a group is not the mean of those for its micro-batches, at the present point."""
        found = set()
        with self._quiet():
            for group in self._groups:
                if len(group.sizes) == 1 or not self.names:
                    continue
                batch = self.objective._on_device(group.batch)
                output = self._output(group, batch, self._held)
                for name in self.names:
                    metric = self.objective.metrics[name]
                    try:
                        together = float(metric(output, batch[1])) * sum(group.sizes)
                    except Exception:  # the user's code, on more samples than it expects
                        found.add(name)
                        continue
                    if not _close(together, self._by_micro_batch(metric, output, batch[1], group.sizes), 1e-6):
                        found.add(name)
        return found

    def _plain(self) -> list[Group]:
        objective = self.objective
        return [
            Group(batch, [batch_size(batch)], denominator)
            for batch, denominator in zip(objective._batches, objective._denominators, strict=True)
            if denominator > 0 or self.names
        ]

    def _merge(self) -> list[Group]:
        groups = self._plain()
        size = sum(_bytes(group.batch) for group in groups)
        if len(groups) < 2 or size > DATA_BYTES:
            return groups
        most = self._layer_bytes // max(1, self._bytes_per_sample(groups[0]))
        merged: list[list[Group]] = []
        for group in groups:
            last = merged[-1] if merged else []
            together = sum(sum(one.sizes) for one in last) + sum(group.sizes)
            if last and together <= most and _same_kind(last[-1].batch, group.batch):
                last.append(group)
            else:
                merged.append([group])
        return [_joined(self.objective, groups) for groups in _balanced(merged)]

    def _bytes_per_sample(self, group: Group) -> int:
        """Of the largest output of any layer."""
        largest = 0

        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal largest
            largest = max(largest, _bytes(output))

        handles = [part.register_forward_hook(look) for part in self._module.modules()]
        try:
            self._module(self.objective._on_device(group.batch)[0])
        finally:
            for handle in handles:
                handle.remove()
        return -(-largest // sum(group.sizes))

    def _find_forward(self) -> BlockedNetwork | ChannelsLastNetwork | None:
        """The faster layout by the structure of the network alone, so that all ranks find the same."""
        first = self.objective._on_device(self._groups[0].batch)[0]
        blocked = BlockedNetwork.of(self._module, first)
        forward: BlockedNetwork | ChannelsLastNetwork | None = blocked
        if blocked is not None and blocked.leaves_blocks:
            forward = ChannelsLastNetwork.of(self._module, first) or blocked
        if forward is not None:
            for group in self._groups:
                group.blocked = forward.convert(group.batch[0])
        return forward

    def _bind(self) -> None:
        """Make the parameters views of the flat vector, and the buffers ours."""
        variables = self.objective._network.unflatten(self._theta)
        for name, parameter in self._module.named_parameters():
            parameter.data = variables[name] if name in variables else self.objective.fixed[name].clone()
        self._set_buffers(self._held)

    def _set_buffers(self, values: Buffers) -> None:
        for name, buffer in self._module.named_buffers():
            buffer.copy_(values[name])

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        devices = [self.objective.device.index or 0] if self.objective.device.type == "cuda" else []
        with self._scope(), torch.no_grad(), torch.random.fork_rng(devices=devices):
            yield


def _joined(objective: Objective, groups: list[Group]) -> Group:
    if len(groups) == 1:
        return groups[0]
    leaves = [tree_flatten(group.batch) for group in groups]
    columns = zip(*(values for values, _ in leaves), strict=True)
    joined = iter([torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns])
    batch = objective._on_device(tree_map(lambda _: next(joined), groups[0].batch))
    denominator = math.fsum(group.denominator for group in groups)
    return Group(batch, [size for group in groups for size in group.sizes], denominator)


def _balanced(groups: list[list[Group]]) -> list[list[Group]]:
    """The same number of groups where all could be one run of equal batches, with about equal sizes."""
    if len(groups) < 2 or not all(_same_kind(groups[0][0].batch, group[0].batch) for group in groups):
        return groups
    single = [one for group in groups for one in group]
    edges = [len(single) * part // len(groups) for part in range(len(groups) + 1)]
    return [single[start:stop] for start, stop in pairwise(edges)]


def _same_kind(first: Batch, second: Batch) -> bool:
    """Whether two batches can be joined: the same tree of tensors, all with one row per sample."""
    (left, left_tree), (right, right_tree) = tree_flatten(first), tree_flatten(second)
    if left_tree != right_tree:
        return False
    sizes = batch_size(first), batch_size(second)
    for a, b in zip(left, right, strict=True):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            return False
        if a.dim() == 0 or a.dtype != b.dtype or a.shape[1:] != b.shape[1:] or (len(a), len(b)) != sizes:
            return False
    return True


def _bytes(tree: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))


def _close(found: float, expected: float, tolerance: float) -> bool:
    if not (math.isfinite(found) and math.isfinite(expected)):
        return found == expected or (math.isnan(found) and math.isnan(expected))
    return abs(found - expected) <= tolerance * max(abs(found), abs(expected))


def _sum(values: Any) -> float:
    """Correctly rounded, or NaN or inf if one of them is."""
    listed = [float(value) for value in values]
    return math.fsum(listed) if all(map(math.isfinite, listed)) else float(sum(listed))
