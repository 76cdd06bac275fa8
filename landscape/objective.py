"""The objective: the mean loss of a network over fixed data, as a function of its flattened parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape._data import Batch, batch_size, freeze, in_words, mini_batches
from landscape._loss import Loss
from landscape._means import Means
from landscape._network import Network, Selection, checked_device, point_digest
from landscape._out_of_memory import advised
from landscape._ranks import check_same, common_point, common_tensors, refused_together
from landscape.errors import InputError
from landscape.parallel import ProcessGrid, exact_sum


class Objective(Means):
    """L(theta): the mean loss of a model over a fixed data set, plus ½·weight_decay·‖theta‖² if asked.

    Parameters, buffers and data are copied: the model can be trained on, and is never changed. The network is evaluated
    in eval mode (dropout off, batch norm with its running statistics). Under several MPI ranks every rank builds the
    same Objective and evaluates its share of the micro-batches; the results do not depend on the number of ranks.

    Parameters
    ----------
    model : torch.nn.Module
        DistributedDataParallel and compiled modules are unwrapped.
    loss : callable
        ``loss(output, target)`` reduced to a mean or a sum over samples, or ``loss(model, batch)`` (recognized by the
        name ``model`` of its first parameter) that returns the mean over the batch.
    data : list of batches | DataLoader | Dataset | (X, y)
        Read once and kept. ``loss(output, target)`` needs batches ``(input, target)``.
    weight_decay : float
        Coefficient of ½‖theta‖².
    weight : callable, optional
        ``weight(batch)``: the denominator of a batch (samples, tokens, sum of class weights). Default: what torch's
        cross entropies divide by, and the number of samples for everything else.
    parameters : list of names, regular expression or predicate(name, parameter), optional
        What theta is made of; default: all parameters that require gradients.
    metrics : dict of callables
        ``metric(output, target)`` (or ``metric(model, batch)``), averaged over samples by :meth:`evaluate`.
    micro_batch : int, optional
        Most samples evaluated at once. Results do not depend on it beyond rounding.
    samples : int, optional
        Use a random subset of this size, chosen by ``seed``.
    device : torch.device or str, optional
        Default: where the model is. With several ranks on a host, "cuda" means one GPU per rank.
    grid : ProcessGrid, optional
        Default: all ranks of the job.
    reduction : "mean" or "sum", optional
        Of the loss; default: found out by duplicating a batch.

    Raises
    ------
    InputError
        If the loss is not one function of theta (shuffling, augmentation, dropout), not finite, or not a mean; if the
        data is empty or nothing is trainable; if the ranks disagree.

    Examples
    --------
    >>> import torch
    >>> objective = Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> objective.n
    4
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any],
        data: Any,
        *,
        weight_decay: float = 0.0,
        weight: Callable[[Batch], Any] | None = None,
        parameters: Selection = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        micro_batch: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        grid: ProcessGrid | None = None,
        reduction: str | None = None,
    ) -> None:
        if not (math.isfinite(weight_decay) and weight_decay >= 0):
            raise InputError(f"weight_decay must be finite and not negative, not {weight_decay}")
        self.grid = grid if grid is not None else ProcessGrid.world()
        self.grid.meet("Objective")
        self.weight_decay = float(weight_decay)
        self.metrics = dict(metrics or {})
        self._network = Network(model, parameters, None if device is None else checked_device(device, self.grid))
        self._loss = Loss(loss, weight, reduction, self._network.theta.device)
        fixed = freeze(data, micro_batch, samples, seed)
        self._batches, self.samples, self.data_digest = fixed.batches, sum(fixed.sizes), fixed.digest
        if not self._loss.opaque and not all(isinstance(b, (tuple, list)) and len(b) == 2 for b in self._batches):
            raise InputError(
                "loss(output, target) needs batches (input, target). For other batches give loss=fn(model, batch), "
                "with `model` as the name of its first parameter"
            )
        # Traced code of this function, which serves it at all points.
        self.graphs: dict[Any, Any] = {}
        self.theta = self._network.theta
        self.buffers, self.fixed = self._network.buffers, self._network.fixed
        self._held: tuple[str, ...] = ()  # no variables of a restricted objective, but in its regularizer
        self._check_ranks()
        self._prepare()

    @property
    def n(self) -> int:
        """Number of trainable parameters."""
        return self.theta.numel()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trainable parameters, in the order of theta."""
        return self._network.names

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Their shapes."""
        return self._network.shapes

    @property
    def device(self) -> torch.device:
        """Where theta is."""
        return self.theta.device

    @property
    def dtype(self) -> torch.dtype:
        """Of theta, and of every product."""
        return self.theta.dtype

    @property
    def opaque(self) -> bool:
        """Whether the loss is ``fn(model, batch)``, so that outputs and per-sample losses cannot be seen."""
        return self._loss.opaque

    def at(self, point: Any, buffers: Mapping[str, Tensor] | None = None) -> Objective:
        """The same function at another point (collective; the ranks must agree on it).

        Parameters
        ----------
        point : (n,) tensor or array, checkpoint, or state dict
            A checkpoint brings its buffers. A checkpoint with names, and a state dict, must have the names and shapes
            of the model, in any order.
        buffers : dict of tensors, optional
            Batch-norm statistics that belong to the point; by default those of this objective are kept.

        Returns
        -------
        Objective
            Shares everything but the point; this one is unchanged.

        Raises
        ------
        InputError
            If names or shapes differ (it says which), or a value is not finite.
        """
        other = copy.copy(self)
        if isinstance(point, Mapping):
            other.theta, other.fixed, other.buffers = self._from_state(point)
        elif hasattr(point, "theta"):
            theta, other.fixed = self._network.parameters_of(point, self.fixed)
            other.theta = self._vector(theta)
            buffers = buffers if buffers is not None else getattr(point, "buffers", None)
        else:
            other.theta = self._vector(point)
        if buffers:
            other.buffers = {**other.buffers, **_matching(buffers, other.buffers, "buffer")}
        other._share_point()
        return other

    def restricted(self, parameters: Selection) -> Objective:
        """The same function of some of its parameters, while the others stay where they are.

        Its Hessian is a diagonal block of this one's, at the cost of the derivatives of the block alone.

        Parameters
        ----------
        parameters : list of names, regular expression or predicate(name, parameter)
            Among :attr:`names`.

        Returns
        -------
        Objective
            Shares the data; its loss is that of this objective, regularizer included.

        Raises
        ------
        InputError
            If nothing is chosen, or a name is unknown.

        Examples
        --------
        >>> import torch
        >>> objective = Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.ones(8, 3), torch.zeros(8, 1)))
        >>> objective.restricted("weight").n
        3
        """
        other = copy.copy(self)
        other._network = self._network.restricted(parameters)
        other.graphs = {}
        values = self.variables()
        other.theta = torch.cat([values[name].reshape(-1) for name in other.names])
        other.fixed = {**self.fixed, **{name: value for name, value in values.items() if name not in other.names}}
        other._held = (*self._held, *(name for name in self.names if name not in other.names))
        return other

    def on(self, grid: ProcessGrid) -> Objective:
        """The same function evaluated by other ranks."""
        other = copy.copy(self)
        other.grid = grid
        return other

    def loss(self) -> float:
        """L(theta) (collective).

        Raises
        ------
        InputError
            If it is NaN or infinite, naming the micro-batch.
        """
        self.grid.meet("Objective.loss")
        return self._mean_loss()

    def gradient(self) -> Tensor:
        """Gradient of L at theta, ``(n,)``, in loss units per parameter (collective)."""
        self.grid.meet("Objective.gradient")
        return self.mean_of(self.batch_gradient).to(self.dtype) + self.weight_decay * self.theta

    def evaluate(self) -> dict[str, float]:
        """Loss and metrics (collective).

        Returns
        -------
        dict with the key "loss" and one key per metric
        """
        self.grid.meet("Objective.evaluate")
        sums: dict[str, list[float]] = {name: [] for name in self.metrics}
        with self._network.scope(), torch.no_grad():
            for index in range(self.grid.data.rank, len(self._batches), self.grid.data.size):
                batch = self._on_device(self._batches[index])
                if self.opaque:
                    values = {
                        name: self._bind_loss(self.variables(), partial(_swapped, metric, batch))
                        for name, metric in self.metrics.items()
                    }
                else:
                    output = self.output(self.variables(), batch[0])
                    values = {name: metric(output, batch[1]) for name, metric in self.metrics.items()}
                for name, value in values.items():
                    sums[name].append(float(value) * batch_size(batch))
        means = {name: exact_sum(parts, self.grid.data) / self.samples for name, parts in sums.items()}
        return {"loss": self._mean_loss(), **means}

    def model(self) -> nn.Module:
        """A private copy of the network at theta, in evaluation mode: its selected parameters can be trained."""
        return self._network.trainable(self.theta, self.fixed, self.buffers)

    def mini_batches(self, size: int, seed: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """One pass over all samples in random order, on the device; the same on every computer.

        As few batches of at most ``size`` samples as possible, which differ by one sample at most. Batches of different
        shapes are not mixed: each is cut on its own.
        """
        return map(self._on_device, mini_batches(self._batches, size, seed, epoch))

    def batch_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of a batch over its true denominator, plus ½·weight_decay·‖theta‖²: what training minimizes.

        Parameters
        ----------
        model : nn.Module
            Of :meth:`model`, in any mode.
        batch : of :meth:`mini_batches`
        """
        return self._loss.mean(model, batch, self.weight_decay)

    def variables(self, theta: Tensor | None = None) -> dict[str, Tensor]:
        """Theta (or another vector) as a dict of views under the parameters' names."""
        return self._network.unflatten(self.theta if theta is None else theta)

    def output(self, variables: dict[str, Tensor], data: Any) -> Any:
        """Output of the network at given variables."""
        return self._network.bind(variables, self.fixed, self.buffers)(data)

    def numerator(self, variables: dict[str, Tensor], batch: Batch, denominator: float) -> Tensor:
        """Sum of the loss over a micro-batch, a differentiable scalar."""
        if self.opaque:
            return self._bind_loss(variables, lambda module: self._loss.numerator(module, batch, denominator))
        return self._loss.numerator(lambda data: self.output(variables, data), batch, denominator)

    def of_output(self, output: Any, target: Any, denominator: float) -> Tensor:
        """Sum of ``loss(output, target)`` over a micro-batch as a function of the network's output."""
        return self._loss.of_output(output, target, denominator)

    def per_sample(self, output: Any, batch: Batch) -> Tensor:
        """Every sample's share of the numerator, ``(samples,)``."""
        return self._loss.per_sample(output, batch[1], batch)

    def shares(self, batch: Batch) -> Tensor:
        """Every sample's share of the denominator, ``(samples,)`` float64, in the order of :meth:`per_sample`."""
        return self._loss.shares(batch)

    def scope(self) -> AbstractContextManager[None]:
        """Derivatives on, and kernels that have two of them; within it contributions are computed."""
        return self._network.scope()

    def batch_gradient(self, batch: Batch, denominator: float) -> Tensor:
        """Gradient of the numerator of one micro-batch, ``(n,)``."""
        theta = self.theta.detach().requires_grad_(True)
        value = self.numerator(self.variables(theta), batch, denominator)
        if not value.requires_grad:  # Theta is a block that the network does not use.
            return torch.zeros_like(self.theta)
        return torch.autograd.grad(value, theta, allow_unused=True, materialize_grads=True)[0]

    def describe(self) -> dict[str, Any]:
        """What identifies this function and point, for provenance and for resuming (collective)."""
        return {
            # Code has no digest, but another loss or forward pass has another value.
            "loss": f"{self._mean_loss():.6g}",
            "model": type(self._network.module).__name__,
            "n": self.n,
            "samples": self.samples,
            "micro_batches": self.batches,
            "weight_decay": self.weight_decay,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "theta_sha256": self._digest(),
            "data_sha256": self.data_digest,
        }

    def _mean_loss(self) -> float:
        values, broken = [], None
        with self._network.scope(), torch.no_grad():
            for index, batch, denominator in self.mine():
                values.append(self.numerator(self.variables(), batch, denominator).item())
                if broken is None and not math.isfinite(values[-1]):
                    broken = f"{values[-1]} in {self.describe_batch(index)}"
        named = [text for text in self.grid.data.all_gather_object(broken) if text is not None]
        if named:
            raise InputError(f"the loss is {'; '.join(named)}: check the parameters and the data there")
        regularized = [self.theta, *(self.fixed[name] for name in self._held)]
        decay = 0.5 * self.weight_decay * sum(float(torch.sum(value.double() ** 2)) for value in regularized)
        return exact_sum(values, self.grid.data) / self.denominator + decay

    def _prepare(self) -> None:
        """Pre-flight: settle the loss's reduction and denominators, and see that two evaluations agree."""
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        with self._network.scope(), torch.no_grad(), torch.random.fork_rng(devices=devices):
            mine = range(self.grid.data.rank, len(self._batches), self.grid.data.size)
            # The first batch on every rank, so that all find the same reduction; the others where they are evaluated.
            refused_together(lambda: self._settle({0, *mine}), self.grid.data)
            self._denominators = [self._loss.denominator(self._on_device(batch)) for batch in self._batches]
            # A micro-batch of weight 0 (all targets ignored) adds nothing, but its mean would be 0/0.
            self._counted = [index for index, value in enumerate(self._denominators) if value > 0]
            if not self._counted:
                raise InputError("the data is empty: every batch has weight 0")
            first = self._on_device(self._batches[self._counted[0]])
            denominator = self._denominators[self._counted[0]]
            once, again = (self.numerator(self.variables(), first, denominator).item() for _ in range(2))
        # NaN is not a sign of randomness; the full evaluation below names its batch.
        if once != again and not (math.isnan(once) and math.isnan(again)):
            raise InputError(
                f"the loss changes from one evaluation to the next ({once / denominator:.9g}, then "
                f"{again / denominator:.9g}): something in the model or the loss is random, such as functional "
                "dropout, noise, or augmentation. Make it deterministic"
            )
        self._mean_loss()
        theta = self.theta.detach().requires_grad_(True)
        with self._network.scope():
            if not self.numerator(self.variables(theta), first, denominator).requires_grad:
                raise InputError(
                    "the loss does not depend on the trainable parameters: does loss(model, batch) use its own `model` "
                    "argument, or is its result detached?"
                )

    def _settle(self, indices: set[int]) -> None:
        for index in sorted(indices):
            batch = self._on_device(self._batches[index])
            try:
                with advised(partial(self._out_of_memory, index, batch)):
                    if self.opaque:
                        self._bind_loss(self.variables(), partial(_swapped, self._loss.settle, batch))
                    else:
                        self._loss.settle(lambda data: self.output(self.variables(), data), batch)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                reason = str(error).splitlines()[0].rstrip(".") if str(error) else ""
                raise InputError(
                    f"the model or the loss fails on {self.describe_batch(index)}, {in_words(batch)}, with parameters "
                    f"of {self.dtype}: {type(error).__name__}: {reason}"
                ) from error

    def _check_ranks(self) -> None:
        """Compare what the ranks brought; broadcast theta and buffers from rank 0."""
        facts = {
            "the parameters' names and shapes": str(list(zip(self.names, map(tuple, self.shapes), strict=True))),
            "dtype or weight_decay": f"{self.dtype} {self.weight_decay!r}",
            "the kind of device": self.device.type,
            "the number of micro-batches": str(len(self._batches)),
            "the data (unseeded shuffle or augmentation? a DistributedSampler?)": self.data_digest,
        }
        check_same(facts, self.grid.world)
        self.grid = self.grid.for_device(self.device)
        self._share_point()

    def _share_point(self) -> None:
        self.theta = common_point(self.theta, self.grid.world)
        self.fixed = common_tensors(self.fixed, self.grid.world)
        self.buffers = common_tensors(self.buffers, self.grid.world)

    def _bind_loss(self, variables: dict[str, Tensor], function: Callable[[nn.Module], Any]) -> Any:
        return self._network.bind_loss(function, variables, self.fixed, self.buffers)

    def _vector(self, theta: Any) -> Tensor:
        value = torch.as_tensor(theta).detach().to(device=self.device, dtype=self.dtype).clone()
        if value.shape != (self.n,):
            raise InputError(f"theta has shape {tuple(value.shape)}, but the objective has n = {self.n} parameters")
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"theta holds NaN or inf at {int((~torch.isfinite(value)).sum())} of {self.n} places")
        return value

    def _from_state(self, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        parameters = {**self.variables(), **self.fixed}
        known = {**parameters, **self.buffers}
        aliases = set(self._network.module.state_dict())
        unexpected = [name for name in state if name not in known and name not in aliases]
        persistent = {name: value for name, value in known.items() if name in aliases}
        missing = [name for name in persistent if name not in state]
        if missing or unexpected:
            raise InputError(
                "the checkpoint belongs to another model: "
                + "; ".join(
                    f"{what} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
                    for what, names in (("it lacks", missing), ("the model lacks", unexpected))
                    if names
                )
            )
        new = {**known, **_matching({name: state[name] for name in persistent}, known, "parameter")}
        theta = self._vector(torch.cat([new[name].reshape(-1) for name in self.names]))
        return theta, {name: new[name] for name in self.fixed}, {name: new[name] for name in self.buffers}

    def _digest(self) -> str:
        return point_digest(self.theta, {**self.fixed, **self.buffers})


def _matching(values: Mapping[str, Tensor], like: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Values under known names with the right shapes, on the right device and of the right dtype."""
    result = {}
    for name, value in values.items():
        if name not in like:
            raise InputError(f"there is no {kind} {name!r} in the model; it has {', '.join(like) or 'none'}")
        value = torch.as_tensor(value)
        if value.shape != like[name].shape:
            raise InputError(
                f"{kind} {name!r} has shape {tuple(value.shape)} in the checkpoint, but "
                f"{tuple(like[name].shape)} in the model"
            )
        result[name] = value.detach().to(like[name]).clone()
    return result


def _swapped(function: Callable[[nn.Module, Batch], Any], batch: Batch, module: nn.Module) -> Any:
    return function(module, batch)
