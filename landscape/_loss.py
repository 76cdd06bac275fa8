"""Turn the user's loss into numerators and denominators, so that micro-batches add up to the true mean."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from landscape._data import Batch, batch_size, rows
from landscape.errors import InputError

# First parameter names that mark a loss(model, batch).
MODEL_NAMES = ("model", "module", "net", "network")
_CROSS_ENTROPIES = (nn.CrossEntropyLoss, nn.NLLLoss)
_FUNCTIONAL_CROSS_ENTROPIES = (functional.cross_entropy, functional.nll_loss)

Model = Callable[[Any], Any]


class Loss:
    """A loss that splits into a sum over samples and its denominator.

    Parameters
    ----------
    function : callable
        ``loss(output, target)``, or ``loss(model, batch)`` returning the mean over the batch.
    weight : callable, optional
        ``weight(batch)``: the denominator of the batch (samples, tokens, sum of class weights).
    reduction : "mean" or "sum", optional
        Of ``loss(output, target)``; found out by :meth:`settle` if not given.
    device : torch.device
        Where a loss that is a module goes; it is copied.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        weight: Callable[[Batch], Any] | None,
        reduction: str | None,
        device: torch.device,
    ) -> None:
        if not callable(function):
            raise InputError(f"loss must be callable, not {type(function).__name__}")
        if reduction not in (None, "mean", "sum"):
            raise InputError(f'reduction must be "mean" or "sum", not {reduction!r}')
        declared = getattr(function, "reduction", None) if isinstance(function, nn.Module) else None
        if isinstance(function, partial):
            declared = function.keywords.get("reduction")
        if declared == "none":
            raise InputError('the loss has reduction="none"; it must return one number: use "mean" or "sum"')
        self.opaque = _takes_model(function)
        if self.opaque and reduction == "sum":
            raise InputError(
                "loss(model, batch) must return the mean over the batch, with weight=fn(batch) as its denominator; "
                'reduction="sum" is for loss(output, target)'
            )
        if isinstance(function, nn.Module):  # Its class weights are ours from now on, and on our device.
            function = copy.deepcopy(function).to(device)
        self.function = function
        self.weight = weight
        self.reduction = reduction or declared

    def denominator(self, batch: Batch) -> float:
        """What the sum over this batch is divided by: the user's weight, the torch loss's own, or samples."""
        if self.weight is not None:
            value = float(self.weight(batch))
        elif not self.opaque and self.reduction != "sum":
            value = self._known_denominator(batch)
        else:
            value = float(batch_size(batch))
        if not (isfinite(value) and value >= 0):
            raise InputError(f"the weight of a batch must be finite and not negative, not {value}")
        return value

    def numerator(self, model: Model, batch: Batch, denominator: float) -> Tensor:
        """Sum of the loss over a batch, a scalar that can be differentiated."""
        if self.opaque:
            return self._scalar(self.function(model, batch)) * denominator
        data, target = batch
        return self.of_output(model(data), target, denominator)

    def mean(self, model: nn.Module, batch: Batch, weight_decay: float) -> Tensor:
        """Loss of a batch over its true denominator, plus ½·weight_decay·‖theta‖²: what training minimizes."""
        parameters = [value for value in model.parameters() if value.requires_grad]
        denominator = self.denominator(batch)
        if denominator == 0:  # All targets ignored: the mean would be 0/0.
            value = torch.stack([0 * value.sum() for value in parameters]).sum()
        elif self.opaque:
            value = self._scalar(self.function(model, batch))
        else:
            data, target = batch
            value = self._scalar(self.function(model(data), target))
            if self.reduction == "sum":
                value = value / denominator
        if weight_decay:
            value = value + 0.5 * weight_decay * torch.stack([one.square().sum() for one in parameters]).sum()
        return value

    def of_output(self, output: Any, target: Any, denominator: float) -> Tensor:
        """Sum of ``loss(output, target)`` over a batch."""
        value = self._scalar(self.function(output, target))
        return value if self.reduction == "sum" else value * denominator

    def per_sample(self, output: Any, target: Any, batch: Batch) -> Tensor:
        """Every counted sample's part of the numerator, ``(samples,)``."""
        torch_loss = self._torch_loss()
        if torch_loss is not None:
            kind, options = torch_loss
            values = kind(output, target, **{**options, "reduction": "none"})
            values = values.reshape(values.shape[0], -1).sum(1)
            if self.reduction == "sum":
                return values
            return values * (self.denominator(batch) / self._known_denominator(batch))
        size = batch_size(batch)
        shares = torch.ones(size, dtype=torch.float64)
        if self.weight is not None and self.reduction != "sum":
            weights = [self.denominator(rows(batch, slice(i, i + 1))) for i in range(size)]
            shares = torch.tensor(weights, dtype=torch.float64)
        counted = shares.nonzero().reshape(-1)
        values = torch.func.vmap(lambda out, tgt: self._scalar(self.function(_alone(out), _alone(tgt))))(
            rows(output, counted), rows(target, counted)
        )
        return values * shares[counted].to(values)

    def shares(self, batch: Batch) -> Tensor:
        """Every counted sample's part of the denominator, ``(samples,)`` float64, in the order of :meth:`per_sample`.

        Samples, tokens, or sums of class weights; zero where all of a sample's targets are ignored.
        """
        torch_loss = self._torch_loss()
        if torch_loss is not None and self.reduction != "sum":
            counts = _counted_targets(batch[1], torch_loss[1])
            return counts * (self.denominator(batch) / self._known_denominator(batch))
        size = batch_size(batch)
        if self.weight is None:
            return torch.ones(size, dtype=torch.float64)
        weights = [self.denominator(rows(batch, slice(i, i + 1))) for i in range(size)]
        shares = torch.tensor(weights, dtype=torch.float64)
        return shares if self.reduction == "sum" else shares[shares > 0]

    def settle(self, model: Model, batch: Batch) -> None:
        """Find out whether the loss is a mean or a sum, and check that its denominator for a batch is right.

        Raises
        ------
        InputError
            If the loss of the batch is not what the losses of its halves say.
        """
        if self.opaque:
            self._check_halves(batch, partial(self._of_model, model, batch))
            return
        data, target = batch
        output = model(data)
        try:
            self.function(output, target)
        except Exception as error:
            hint = ""
            if isinstance(error, (TypeError, AttributeError)):
                hint = ". If your loss takes (model, batch), name its first parameter `model`"
            reason = str(error).rstrip(".")
            raise InputError(f"loss(output, target) raised {type(error).__name__}: {reason}{hint}") from error
        if self.reduction is None:
            self.reduction = self._detect(output, target)
        self._check_halves(batch, partial(self._of_rows, output, target))

    def _of_model(self, model: Model, batch: Batch, part: slice) -> Any:
        return self.function(model, rows(batch, part))

    def _of_rows(self, output: Any, target: Any, part: slice) -> Any:
        return self.function(rows(output, part), rows(target, part))

    def _check_halves(self, batch: Batch, evaluate: Callable[[slice], Any]) -> None:
        size = batch_size(batch)
        if size < 2:
            return
        parts = [slice(0, size), slice(0, size // 2), slice(size // 2, size)]
        try:
            weights = [self.denominator(rows(batch, part)) for part in parts]
            results = [
                self._scalar(evaluate(part)) if weight else None for part, weight in zip(parts, weights, strict=True)
            ]
            precision = next(result.dtype for result in results if result is not None)
            values = [0.0 if result is None else result.item() for result in results]
        except (InputError, StopIteration, IndexError, RuntimeError, TypeError, ValueError):
            return  # A batch that cannot be cut (padded, nested, of fixed size) cannot be checked either.
        if self.reduction != "sum":
            values = [value * weight for value, weight in zip(values, weights, strict=True)]
        if not all(isfinite(value) for value in values):
            return  # Reported with its batch by the evaluation that follows.
        whole, first, second = values
        tolerance = 1e3 * torch.finfo(precision).eps
        if abs(whole - first - second) > tolerance * max(abs(value) for value in values):
            raise InputError(
                f"the loss of a batch is not the {self.reduction or 'mean'} over its samples: times the denominator it "
                f"is {whole:.6g} for {size} samples, but {first:.6g} + {second:.6g} for its halves. If it divides by "
                "something else than the number of samples (tokens, class weights, padding), say so with "
                "weight=fn(batch)"
            )

    def _detect(self, output: Any, target: Any) -> str:
        """Duplicate the batch: a mean stays, a sum doubles."""
        single = self._scalar(self.function(output, target)).item()
        double = self._scalar(self.function(_twice(output), _twice(target))).item()
        if single == 0 or not (isfinite(single) and isfinite(double)):
            return "mean"
        if abs(double - single) <= 1e-3 * abs(single):
            return "mean"
        if abs(double - 2 * single) <= 1e-3 * abs(single):
            return "sum"
        raise InputError(
            f"the loss is neither a mean nor a sum over samples: {single:.6g} for a batch, {double:.6g} for the batch "
            "twice. Give loss=fn(model, batch) with weight=fn(batch), or reduction="
        )

    def _scalar(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or value.numel() != 1:
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"the loss must return one number (a tensor with one element), not {what}")
        return value.reshape(())

    def _torch_loss(self) -> tuple[Callable[..., Tensor], dict[str, Any]] | None:
        """torch's own cross entropy or NLL with its options, whose denominators are known exactly."""
        function = self.function
        # A subclass may compute something else.
        if isinstance(function, _CROSS_ENTROPIES) and type(function) in _CROSS_ENTROPIES:
            kind = functional.cross_entropy if isinstance(function, nn.CrossEntropyLoss) else functional.nll_loss
            options: dict[str, Any] = {"weight": function.weight, "ignore_index": function.ignore_index}
            if isinstance(function, nn.CrossEntropyLoss):
                options["label_smoothing"] = function.label_smoothing
            return kind, options
        options = {}
        if isinstance(function, partial) and not function.args:
            options = {key: value for key, value in function.keywords.items() if key != "reduction"}
            function = function.func
        return (function, options) if function in _FUNCTIONAL_CROSS_ENTROPIES else None

    def _known_denominator(self, batch: Batch) -> float:
        torch_loss = self._torch_loss()
        if torch_loss is None:
            return float(batch_size(batch))
        target, options = batch[1], torch_loss[1]
        if torch.is_floating_point(target):  # Class probabilities, (N, C, ...): one loss per sample and position.
            return float(target.numel() / target.shape[1]) if target.dim() > 1 else 1.0
        counted = target[target != options.get("ignore_index", -100)]
        weight = options.get("weight")
        if weight is None:
            return float(counted.numel())
        return float(weight.detach().double()[counted.to(weight.device)].sum())


def _counted_targets(target: Tensor, options: dict[str, Any]) -> Tensor:
    """What every sample adds to the denominator of torch's mean cross entropy, ``(samples,)`` float64."""
    samples = target.shape[0] if target.dim() > 0 else 1
    if torch.is_floating_point(target):  # Class probabilities, (N, C, ...): one loss per sample and position.
        each = target.numel() / target.shape[1] / samples if target.dim() > 1 else 1.0
        return torch.full((samples,), each, dtype=torch.float64)
    counted = target != options.get("ignore_index", -100)
    weight = options.get("weight")
    if weight is None:
        return counted.double().reshape(samples, -1).sum(1).cpu()
    values = weight.detach().double()[torch.where(counted, target, 0).to(weight.device)] * counted.to(weight.device)
    return values.reshape(samples, -1).sum(1).cpu()


def _takes_model(function: Callable[..., Any]) -> bool:
    if isinstance(function, nn.Module):
        return False
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return bool(parameters) and parameters[0] in MODEL_NAMES


def _twice(tree: Any) -> Any:
    return tree_map(lambda leaf: torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.dim() > 0 else leaf, tree)


def _alone(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.unsqueeze(0) if isinstance(leaf, Tensor) else leaf, tree)
