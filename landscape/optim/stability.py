"""How much curvature an optimizer bears: thresholds of linear stability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

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
    decoupled : float
        Weight decay that shrinks the parameters beside the gradient: it is part of the value, and not of H.
    """

    value: float
    rule: str
    adaptive: bool
    weight_decay: float
    decoupled: float = 0.0


def threshold_of(kind: str, options: Mapping[str, Any], step: int | None = None) -> Threshold:
    """Threshold of linear stability of an optimizer.

    On a quadratic with curvature λ along a direction, a step is a linear map of the position and the momentum. Its
    spectral radius passes 1, at the eigenvalue -1, where λ is: ``2/lr`` for gradient descent; ``2(1+β)/lr`` with
    momentum β, times 1/(1-dampening); ``2(1+β)/(lr(1+2β))`` with Nesterov's (Cohen et al., Gradient descent on neural
    networks typically occurs at the edge of stability, ICLR 2021). For Adam ``2(1+β₁)/((1-β₁)lr)`` (Cohen et al.,
    Adaptive gradient methods at the edge of stability, 2022). With decoupled weight decay w, 2 becomes ``2-lr·w``.

    The coefficients of the map are held fixed as they are in one step: the metric, the learning rate and, where the
    step is given, what Adam and NAdam correct and schedule. Then Adam's is times ``1-β₁ᵗ``; NAdam's is
    ``2/(A + K(1-β₁)/(1+β₁))`` with ``A = lr(1-μₜ)/(1-Πₜ)`` before the gradient, ``K = lr μₜ₊₁/(1-Πₜ₊₁)`` before its
    mean, ``μₜ = β₁(1 - ½·0.96^(t·momentum_decay))`` and their product Πₜ.

    Parameters
    ----------
    kind : str
        Class of the optimizer: SGD, Adam, AdamW, NAdam, RMSprop or Adagrad.
    options : dict
        Of its parameter group, ``optimizer.param_groups[0]``.
    step : int, optional
        Number of the step, from 1; without it Adam and NAdam are as after all warm-up, which for NAdam's default
        momentum_decay takes some 30 000 steps. Adagrad's decay of the learning rate needs it.

    Returns
    -------
    Threshold

    Raises
    ------
    InputError
        If the optimizer is of another kind, maximizes, has no learning rate, or decoupled weight decay that alone
        makes it unstable.

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
    if rate * decoupled >= 2:
        raise InputError(
            f"weight decay {decay:g} times the learning rate {rate:g} is not below 2: the parameters grow by "
            "themselves; make one of them smaller"
        )
    value, rule = _RULES[kind](rate, options, None if step is None else max(step, 1))
    if decoupled:
        # The position shrinks by lr·w in the same step, which moves the eigenvalue -1.
        value, rule = value * (2 - rate * decoupled) / 2, rule.replace("2", "(2-lr·w)", 1)
    coupled = 0.0 if decoupled else decay
    return Threshold(value, rule, SECOND_MOMENTS[kind] is not None, coupled, decoupled)


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
    correction = 1.0 if step is None else 1 - beta**step
    rule = "2(1+β₁)/((1-β₁)lr)" if correction == 1 else "2(1+β₁)(1-β₁ᵗ)/((1-β₁)lr)"
    return 2 * (1 + beta) * correction / ((1 - beta) * rate), rule


def _nadam(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    beta, decay = float(options["betas"][0]), float(options.get("momentum_decay", 4e-3))
    if step is None:
        now = after = beta if decay else beta / 2
        product = 0.0
    else:
        momenta = beta * (1 - 0.5 * 0.96 ** (np.arange(1, step + 2) * decay))
        now, after, product = float(momenta[-2]), float(momenta[-1]), float(np.prod(momenta[:-1]))
    rule = "2(1+β₁)/((1-β₁)(1+2β₁)lr)" if now == after == beta else "2/(A+K(1-β₁)/(1+β₁))"
    gradient, mean = rate * (1 - now) / (1 - product), rate * after / (1 - product * after)
    return 2 / (gradient + mean * (1 - beta) / (1 + beta)), rule


def _rmsprop(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    return _heavy_ball(rate, float(options.get("momentum", 0.0)))


def _adagrad(rate: float, options: Mapping[str, Any], step: int | None) -> tuple[float, str]:
    decay = float(options.get("lr_decay", 0.0))
    if decay and step is None:
        raise InputError("the learning rate of this Adagrad decays with its steps: say how many it has done, step=")
    return 2 * (1 + (max(step or 1, 1) - 1) * decay) / rate, "2(1+(t-1)lr_decay)/lr" if decay else "2/lr"


_RULES = {"SGD": _sgd, "Adam": _adam, "AdamW": _adam, "NAdam": _nadam, "RMSprop": _rmsprop, "Adagrad": _adagrad}
