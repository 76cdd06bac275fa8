"""How much curvature an optimizer bears: thresholds of linear stability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from landscape.errors import InputError
from landscape.optim.metric import SECOND_MOMENTS, checked_kind


@dataclass(frozen=True)
class Threshold:
    """The largest eigenvalue with which steps on a quadratic do not grow.

    Attributes
    ----------
    value : float
        In units of the curvature, times those of the metric if there is one.
    rule : str
        The formula.
    adaptive : bool
        Whether it is meant for ``P^-½ H P^-½`` with the optimizer's metric P, and not for H.
    weight_decay : float
        Coefficient of ½‖theta‖² that the optimizer adds to the loss, so that H must hold it.
    """

    value: float
    rule: str
    adaptive: bool
    weight_decay: float


def threshold_of(kind: str, options: Mapping[str, Any], step: int | None = None) -> Threshold:
    """Threshold of linear stability of an optimizer.

    On a quadratic with curvature λ along a direction, a step is a linear map of the position and the momentum. Its
    spectral radius passes 1, at the eigenvalue -1, where λ is: ``2/lr`` for gradient descent; ``2(1+β)/lr`` with
    momentum β, times 1/(1-dampening); ``2(1+β)/(lr(1+2β))`` with Nesterov's (Cohen et al., Gradient descent on neural
    networks typically occurs at the edge of stability, ICLR 2021). For Adam, with its metric held fixed,
    ``2(1+β₁)/((1-β₁)lr)`` (Cohen et al., Adaptive gradient methods at the edge of stability, 2022), and
    ``(2-lr·w)(1+β₁)/((1-β₁)lr)`` with decoupled weight decay w.

    Parameters
    ----------
    kind : str
        Class of the optimizer: SGD, Adam, AdamW, NAdam, RMSprop or Adagrad.
    options : dict
        Of its parameter group, ``optimizer.param_groups[0]``.
    step : int, optional
        Steps done, which Adagrad's decay of the learning rate counts.

    Returns
    -------
    Threshold

    Raises
    ------
    InputError
        If the optimizer is of another kind, maximizes, or has no learning rate.

    Examples
    --------
    >>> threshold_of("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True}).value
    15.0
    """
    checked_kind(kind)
    rate = float(options.get("lr", float("nan")))
    if not (isfinite(rate) and rate > 0):
        raise InputError(f"the threshold of {kind} needs a positive learning rate, not {rate}")
    if options.get("maximize"):
        raise InputError(f"the {kind} maximizes: its stability is that of the negative loss; negate the loss instead")
    decay = float(options.get("weight_decay", 0.0))
    decoupled = decay if kind == "AdamW" or options.get("decoupled_weight_decay") else 0.0
    value, rule = _RULES[kind](rate, options, step)
    if decoupled:
        # The position shrinks by lr·w in the same step, which moves the eigenvalue -1.
        value, rule = value * (2 - rate * decoupled) / 2, rule.replace("2(1+β", "(2-lr·w)(1+β", 1)
    return Threshold(value, rule, SECOND_MOMENTS[kind] is not None, 0.0 if decoupled else decay)


def _heavy_ball(rate: float, momentum: float) -> tuple[float, str]:
    return 2 * (1 + momentum) / rate, "2(1+β)/lr" if momentum else "2/lr"


def _sgd(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    momentum = float(options.get("momentum", 0.0))
    if options.get("nesterov"):
        return 2 * (1 + momentum) / (rate * (1 + 2 * momentum)), "2(1+β)/(lr(1+2β))"
    dampening = float(options.get("dampening", 0.0)) if momentum else 0.0
    value, rule = _heavy_ball(rate * (1 - dampening), momentum)
    return value, "2(1+β)/(lr(1-dampening))" if dampening else rule


def _adam(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    beta = float(options["betas"][0])
    return 2 * (1 + beta) / ((1 - beta) * rate), "2(1+β₁)/((1-β₁)lr)"


def _nadam(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    # After its momentum schedule, which ends after some thousand steps.
    beta = float(options["betas"][0])
    return 2 * (1 + beta) / ((1 - beta) * (1 + 2 * beta) * rate), "2(1+β₁)/((1-β₁)(1+2β₁)lr)"


def _rmsprop(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    return _heavy_ball(rate, float(options.get("momentum", 0.0)))


def _adagrad(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    decay = float(options.get("lr_decay", 0.0))
    if decay and step is None:
        raise InputError("the learning rate of this Adagrad decays with its steps: say how many it has done, step=")
    return 2 * (1 + (max(step or 1, 1) - 1) * decay) / rate, "2(1+(t-1)lr_decay)/lr" if decay else "2/lr"


_RULES = {"SGD": _sgd, "Adam": _adam, "AdamW": _adam, "NAdam": _nadam, "RMSprop": _rmsprop, "Adagrad": _adagrad}
