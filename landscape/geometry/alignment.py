"""Put the neurons of one network into the order of another one, so that the way between them means something."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from landscape._arguments import check_whole
from landscape._data import Batch, batch_size, freeze, rows
from landscape._ranks import answer_of_first_rank
from landscape.errors import ComputeError, InputError
from landscape.geometry.activation_matching import matched_activations
from landscape.geometry.coupling import CouplingGraph
from landscape.geometry.layout import layout_of
from landscape.geometry.matching import matched_weights
from landscape.geometry.network_trace import WITHOUT, called
from landscape.geometry.permuting import Permutations, permuted_state
from landscape.geometry.points import buffers_of, last_of, vector_of
from landscape.geometry.products import dot, norm
from landscape.objective import Objective
from landscape.parallel.threads import one_thread
from landscape.records.aligned_checkpoint import AlignedCheckpoint

METHODS = ("weights", "activations")
# Samples on which both orders must compute the same, and how far their outputs may be apart: rounding of float64 stays
# far below, a wrong order far above. Where a network cannot be evaluated in float64, that of float32 counts.
CHECKED_SAMPLES = 512
LARGEST_DEVIATION = {torch.float64: 1e-6, torch.float32: 1e-3}
# Samples of a trace, of which only shapes count. One would look like an axis to be stretched.
TRACED_SAMPLES = 2

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Point:
    """A point in the order of the objective: its theta, buffers, and whatever it came from."""

    theta: NDArray[Any]
    buffers: dict[str, Tensor]
    source: Any


def align(
    objective: Objective,
    a: Any,
    b: Any,
    *,
    method: str = "weights",
    restarts: int = 1,
    seed: int = 0,
    samples: int | None = None,
    progress: Progress | None = None,
) -> AlignedCheckpoint:
    """Permute the neurons of b so that they match those of a; the function of b stays as it is (collective).

    What may be permuted is found by tracing the network (:class:`~landscape.geometry.CouplingGraph`): neurons, channels
    with their norms and statistics, streams of residual networks, heads of attention and what is inside of them; never
    inputs, outputs, vocabularies, frozen parameters. Permutations are found by matching weights (Ainsworth, Hayase,
    Srinivasa, "Git Re-Basin", ICLR 2023, algorithm 1) or what neurons say about the data. Every time the outputs of
    both orders are compared in float64.

    Parameters
    ----------
    objective : Objective
        Its own theta plays no role.
    a, b : Checkpoint, Objective, Trajectory (its last checkpoint) or (n,) vector
        Of the model of the objective. A point without buffers has those of the objective.
    method : "weights" or "activations"
        Weights: b comes as near to a as coordinate descent finds. Activations: neurons that say the same about the data
        are matched, whatever their weights. Which of them leaves the lower barrier differs from pair to pair.
    restarts : int
        Starts of the descent, of which the best is taken. The first one is the order that b has, and beside it one that
        does not depend on it, from which permuted copies of small networks were found again 120 times of 120; each
        further one is an order by chance. Activations have one answer and need none.
    seed : int
        Of the order in which neurons are visited, of the restarts and of the samples.
    samples : int, optional
        How many samples activations are computed for, chosen by chance; default: all.
    progress : callable, optional
        ``progress(done, total, text)``, called on rank 0.

    Returns
    -------
    AlignedCheckpoint
        The same on every rank, and bitwise the same for every number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range, a point is of another model (which parameter, both shapes), or the network
        cannot be traced or uses an operation that is not understood (which module, which operation).
    ComputeError
        If the permuted network computes something else.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    >>> objective = ls.Objective(model, torch.nn.MSELoss(), (torch.rand(8, 2), torch.zeros(8, 1)))
    >>> turned = {name: value.flip(0) if name[0] == "0" else value for name, value in model.state_dict().items()}
    >>> turned["2.weight"] = turned["2.weight"].flip(1)
    >>> aligned = ls.align(objective, objective, objective.at(turned))
    >>> aligned.permutations["0.weight[0]"].tolist(), aligned.distance_after
    ([2, 1, 0], 0.0)
    """
    _check(objective, method, restarts, seed, samples)
    objective.grid.meet("align")

    def found() -> AlignedCheckpoint | ComputeError:
        try:
            with one_thread():
                return _aligned(objective, a, b, method, restarts, seed, samples, progress)
        except ComputeError as error:  # all ranks must hear of it
            return error

    result: AlignedCheckpoint | ComputeError = answer_of_first_rank(found, objective.grid.world)
    if isinstance(result, ComputeError):
        raise result
    return result


def _aligned(
    objective: Objective,
    a: Any,
    b: Any,
    method: str,
    restarts: int,
    seed: int,
    samples: int | None,
    progress: Progress | None,
) -> AlignedCheckpoint:
    """By this rank alone."""
    first, second = (_point(objective, thing, name) for thing, name in ((a, "a"), (b, "b")))

    def graph_of(inputs: Any) -> CouplingGraph:
        frozen = tuple(objective.fixed)
        return CouplingGraph.of_network(objective._network, inputs, call=_call(objective), frozen=frozen)

    graph = graph_of(_inputs(objective, _a_few(objective._batches[0])))
    one, two = (_state(objective, point) for point in (first, second))
    if method == "weights":
        sides = ({name: side[name].cpu() for name in objective.names} for side in (one, two))
        found = matched_weights(graph, *sides, restarts=restarts, seed=seed, progress=progress)
    else:
        inputs = [_inputs(objective, batch) for batch in freeze(objective._batches, None, samples, seed).batches]
        with objective.scope():
            found = matched_activations(graph, graph_of, one, two, inputs, progress)
    after = permuted_state(two, graph, found.permutations)
    theta = _flat(objective, after)
    thetas = first.theta.astype(float), second.theta.astype(float), theta.astype(float)
    weights = method == "weights"  # the whole inner product, with what is not permuted
    return AlignedCheckpoint(
        theta=theta,
        buffers={name: after[name].cpu().numpy() for name in objective.buffers},
        names=tuple(objective.names),
        shapes=tuple(tuple(shape) for shape in objective.shapes),
        **_facts(objective, second.source, graph, found.permutations),
        permutations=found.permutations,
        method=method,
        sweeps=found.sweeps,
        value_before=dot(thetas[0], thetas[1]) if weights else found.before,
        value_after=dot(thetas[0], thetas[2]) if weights else found.value,
        distance_before=norm(thetas[0] - thetas[1]),
        distance_after=norm(thetas[0] - thetas[2]),
        deviation=_deviation(objective, two, after),
    )


def _point(objective: Objective, thing: Any, name: str) -> _Point:
    """What the user gave, checked against the model."""
    if isinstance(thing, str | Mapping) or hasattr(thing, "__fspath__"):
        raise InputError(
            f"{name} must be a checkpoint, an objective, a run or a vector (n,), not a {type(thing).__name__}; open a "
            "recorded run with landscape.Trajectory, and give weights of your own as objective.at(state_dict)"
        )
    source = last_of(thing)
    vector = vector_of(source)
    mine, theirs = layout_of(objective, objective.n), layout_of(source, len(vector))
    places = mine.places_of(theirs, "the objective", name)
    vector = vector if places is None else vector[places]
    if not np.isfinite(vector).all():
        raise InputError(f"{name} holds NaN or inf at {int((~np.isfinite(vector)).sum())} of {len(vector)} places")
    buffers = dict(objective.buffers)
    for which, value in buffers_of(source).items():
        if which not in buffers:
            raise InputError(f"{name} has a buffer {which!r}, but the model has none of that name")
        if value.shape != tuple(buffers[which].shape):
            raise InputError(
                f"buffer {which!r} has shape {value.shape} in {name}, but {tuple(buffers[which].shape)} in the model"
            )
        buffers[which] = torch.from_numpy(np.array(value)).to(buffers[which])
    return _Point(vector, buffers, source)


def _state(objective: Objective, point: _Point) -> dict[str, Tensor]:
    """Parameters and buffers of a point by name, on the device."""
    theta = torch.from_numpy(point.theta).to(objective.theta)
    return {**objective.variables(theta), **objective.fixed, **point.buffers}


def _flat(objective: Objective, state: Mapping[str, Tensor]) -> NDArray[Any]:
    return torch.cat([state[name].reshape(-1) for name in objective.names]).cpu().numpy()


def _facts(objective: Objective, source: Any, graph: CouplingGraph, permutations: Permutations) -> dict[str, Any]:
    """What else a checkpoint knows: its step, and the optimizer's state in the new order."""
    facts = {name: getattr(source, name) for name in ("step", "loss", "learning_rate") if _is_number(source, name)}
    for name in ("momentum", "second_moment"):
        values = getattr(source, name, None)
        if isinstance(values, np.ndarray) and values.shape == (objective.n,):
            places = layout_of(objective, objective.n).places_of(layout_of(source, len(values)), "the objective", "b")
            parts = objective.variables(torch.from_numpy(values if places is None else values[places]))
            facts[name] = _flat(objective, permuted_state(parts, graph, permutations))
    return facts


def _is_number(source: Any, name: str) -> bool:
    return isinstance(getattr(source, name, None), int | float)


def _a_few(batch: Batch) -> Batch:
    """So many samples that a trace tells samples from the rest; a batch that cannot be cut as it is."""
    try:
        return rows(batch, slice(0, min(TRACED_SAMPLES, batch_size(batch))))
    except InputError:
        return batch


def _inputs(objective: Objective, batch: Batch) -> Any:
    """What goes into the network, or into the loss that calls it."""
    batch = objective._on_device(batch)
    return batch if objective.opaque else batch[0]


def _call(objective: Objective) -> Callable[..., Any] | None:
    """The loss, if it is what calls the network."""
    return objective._loss.function if objective.opaque else None


def _deviation(objective: Objective, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Largest change of an output, relative to the largest output.

    Raises
    ------
    ComputeError
        If it is more than rounding.
    """
    batches = _checked_batches(objective)
    try:
        found, precision = _largest_change(objective, batches, before, after, torch.float64), torch.float64
    except (RuntimeError, TypeError, ValueError):  # constants of the user's in another precision
        precision = objective.dtype
        found = _largest_change(objective, batches, before, after, precision)
    if not found <= LARGEST_DEVIATION[precision]:
        raise ComputeError(
            f"the permuted network computes something else: its outputs change by {found:.2g} of the largest one, "
            f"more than {LARGEST_DEVIATION[precision]:g}. It has a structure that its trace does not show; {WITHOUT}"
        )
    return found


def _largest_change(
    objective: Objective,
    batches: Sequence[Any],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    precision: torch.dtype,
) -> float:
    module = copy.deepcopy(objective._network.module).to(precision)
    change = largest = 0.0
    with objective.scope(), torch.no_grad():
        for inputs in batches:
            data = tree_map(lambda leaf: _as(leaf, precision), inputs)
            states = [
                {name: _as(value, precision).clone() for name, value in state.items()}  # the network may write to them
                for state in (before, after)
            ]
            outputs = [tree_flatten(called(module, state, data, _call(objective)))[0] for state in states]
            for one, two in zip(*outputs, strict=True):
                if not (isinstance(one, Tensor) and one.is_floating_point()):
                    continue
                there = torch.isfinite(one)
                if not torch.equal(there, torch.isfinite(two)):
                    return math.inf
                change = max(change, float((one - two)[there].abs().max()) if there.any() else 0.0)
                largest = max(largest, float(one[there].abs().max()) if there.any() else 0.0)
    return change / largest if largest > 0 else change


def _as(leaf: Any, precision: torch.dtype) -> Any:
    return leaf.to(precision) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _checked_batches(objective: Objective) -> list[Any]:
    """Enough micro-batches, spread over the data."""
    batches = objective._batches
    count = min(len(batches), -(-CHECKED_SAMPLES // max(1, batch_size(batches[0]))))
    chosen = np.unique(np.linspace(0, len(batches) - 1, count).astype(int))
    return [_inputs(objective, batches[index]) for index in chosen.tolist()]


def _check(objective: Objective, method: str, restarts: int, seed: int, samples: int | None) -> None:
    if not isinstance(objective, Objective):
        raise InputError(f"align needs a landscape.Objective, not {type(objective).__name__}")
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    check_whole("restarts", restarts, 1)
    check_whole("seed", seed, 0)
    if samples is not None:
        check_whole("samples", samples, 1)
