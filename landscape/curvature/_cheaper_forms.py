"""Functions in other words, of which derivatives are cheaper or exist at all; for a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class CheaperForms(TorchFunctionMode):
    """Within it, functions are computed in the forms of this module; these change nothing but rounding.

    * A convolution followed by an eval-mode batch norm is one convolution with scaled weights: then no tensor of the
      size of an activation belongs to the norm, in the forward pass or in a derivative.
    * Attention does not look for rows that are masked as a whole where none can be.
    * The mean squared error is written out, as torch's own has no forward derivative (pytorch#123996).

    Parameters
    ----------
    layout : torch.memory_format
        Of what a convolution takes.
    """

    def __init__(self, layout: torch.memory_format) -> None:
        super().__init__()
        self.layout = layout
        self.convolutions: dict[int, _Convolution] = {}  # by their results, which thereby stay alive

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute a function in its cheaper form, if it has one."""
        kwargs = kwargs or {}
        result = None
        if function is torch.conv2d:
            result = self._convolved(args, kwargs)
        elif function is functional.batch_norm:
            result = self._normed(*args, **kwargs)
        elif function is functional.scaled_dot_product_attention:
            result = _attention(args, kwargs)
        elif function is functional.mse_loss:
            result = _mean_squares(args, kwargs)
        return function(*args, **kwargs) if result is None else result

    def _convolved(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        if len(args) < 2 or args[0].dim() != 4:
            return None
        args = (*(value.contiguous(memory_format=self.layout) for value in args[:2]), *args[2:])
        convolution = _Convolution(torch.conv2d(*args, **kwargs), args, kwargs)
        self.convolutions[id(convolution.result)] = convolution
        return convolution.result

    def _normed(
        self,
        x: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        convolution = self.convolutions.get(id(x))
        if convolution is None or training or mean is None or variance is None or convolution.is_outdated():
            return None
        scale = torch.rsqrt(variance + eps)
        return convolution.scaled(scale if weight is None else scale * weight, mean, bias)


@dataclass
class _Convolution:
    """A convolution that was computed, with its arguments, so that it can be computed with others."""

    result: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __post_init__(self) -> None:
        self.versions = self._versions()

    def is_outdated(self) -> bool:
        """Whether its result or what it was computed from has been written to since."""
        return self._versions() != self.versions

    def scaled(self, scale: Tensor, mean: Tensor, shift: Tensor | None) -> Tensor:
        """``scale · (convolution - mean) + shift``, by channel, as one convolution."""
        data, kernel, *rest = self.args
        names = ("bias", "stride", "padding", "dilation", "groups")
        options = {**dict(zip(names, rest, strict=False)), **self.kwargs}
        old = options.pop("bias", None)
        bias = (-mean if old is None else old - mean) * scale
        bias = bias if shift is None else bias + shift
        return torch.conv2d(data, kernel * scale.view(-1, 1, 1, 1), bias, **options)

    def _versions(self) -> list[int]:
        tensors = (value for value in (self.result, *self.args, *self.kwargs.values()) if isinstance(value, Tensor))
        return [value._version for value in tensors]


def _attention(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """Attention with no mask but a causal one, written out."""
    if len(args) != 3 or any(_is_set(value) for name, value in kwargs.items() if name not in ("is_causal", "scale")):
        return None
    query, key, value = args
    scale = kwargs.get("scale")
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if kwargs.get("is_causal", False):
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    attended: Tensor = scores.softmax(-1) @ value
    return attended


def _is_set(option: Any) -> bool:
    """Whether an option of attention is not at its default, which is None, False or 0."""
    return option is not None and not (isinstance(option, (int, float)) and option == 0)


def _mean_squares(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """The mean squared error of tensors of one shape, written out."""
    if len(args) != 2 or not set(kwargs) <= {"reduction"} or args[0].shape != args[1].shape:
        return None
    squares: Tensor = (args[0] - args[1]).square()
    reduction = kwargs.get("reduction", "mean")
    return squares.mean() if reduction == "mean" else squares.sum() if reduction == "sum" else squares
