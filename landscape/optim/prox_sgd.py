"""ProxSGD: stochastic gradients with momentum, an adaptive metric, an exact l1 proximal map and box constraints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn

from landscape.errors import InputError

# Exponents (a, b) of rho_t = rho0/(t+R)^a and eps_t = eps0/(t+R)^b.
SCHEDULES: dict[str, tuple[float, float]] = {"constant": (0.0, 0.0), "paper": (0.5, 0.5), "theory": (0.51, 0.6)}
THRESHOLDS = (0.0, 1e-8, 1e-6, 1e-4, 1e-3)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Finalization:
    """What :meth:`ProxSGD.finalize` did.

    Attributes
    ----------
    zeros_before, zeros_after : int
        Exact zeros among all parameters of the optimizer.
    size : int
        Number of these parameters.
    largest_change : float
        Largest magnitude that became zero: small if the run had converged.
    """

    zeros_before: int
    zeros_after: int
    size: int
    largest_change: float


class ProxSGD(torch.optim.Optimizer):
    """Minimize loss + l1·‖x‖₁ over a box, where x_t moves towards the solution of a convex subproblem.

    With the gradient g of a mini-batch, step t = 0, 1, … of Yang, Yuan, Chatzimichailidis, van Sloun, Lei, Chatzinotas,
    "ProxSGD: Training Structured Neural Networks under Regularization and Constraints", ICLR 2020 is::

        v ← v + rho_t (g − v)                                                              momentum, eq. 6
        r ← r + (1 − beta) (g² − r),  tau = sqrt(r / (1 − beta^(t+1))) + delta             as in Adam, Table 1
        y = argmin over the box of v·y + ½ (y − x)·tau (y − x) + mu ‖y‖₁                   eq. 7, in closed form
        x ← x + eps_t (y − x)                                                              eq. 8

    with ``rho_t = rho0 / (t + R)^a`` and ``eps_t = eps0 / (t + R)^b``. Without l1 and box this is Adam without bias
    correction of the first moment. A coordinate whose y is 0 shrinks by 1 − eps_t per step and is never exactly 0
    before :meth:`finalize`, unless eps_t = 1 (``lr=1, schedule="constant"``). The box holds from a start inside it.
    Every option can be set per parameter group, and learning-rate schedulers scale eps_t.

    Parameters
    ----------
    params : iterable of parameters, of (name, parameter), or of groups
        :meth:`parameter_groups` makes groups that leave biases and normalization layers without l1.
    lr : float
        eps0. Default 0.06, of the released code.
    gradient_weight : float
        rho0, the weight of the new gradient in the momentum: 1 − momentum in torch's SGD. Default 0.9, of the released
        code, which its schedule diminishes.
    schedule : {"paper", "constant", "theory"} or (a, b)
        Exponents a of rho_t and b of eps_t. "paper": (0.5, 0.5) of the released code; "theory": (0.51, 0.6), which the
        convergence theorem covers; "constant": (0, 0), for schedulers of torch. See :meth:`check_schedule`.
    offset : float
        R. Default 4, of the released code.
    curvature : "adaptive" or float
        tau: from the second moment of the gradients, or a positive constant.
    beta : float
        Decay of the second moment r. Default 0.999, of the released code.
    delta : float
        Added to the adaptive tau. Default 1e-8, of the released code.
    l1 : float
        mu, the weight of ‖x‖₁.
    low, high : float, optional
        The box.

    Raises
    ------
    InputError
        If an option has no meaning; the message says which.

    Notes
    -----
    Per parameter, ``state`` holds ``step``, ``momentum`` (v) and, with adaptive tau, ``second_moment`` (r).
    The released code divides by 1 − beta^(t+2) instead of 1 − beta^(t+1); this does not.

    Examples
    --------
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = ProxSGD(ProxSGD.parameter_groups(model, l1=1e-3)[0], lr=0.1)
    >>> model(torch.ones(2, 3)).square().mean().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.06,
        gradient_weight: float = 0.9,
        *,
        schedule: str | Sequence[float] = "paper",
        offset: float = 4.0,
        curvature: str | float = "adaptive",
        beta: float = 0.999,
        delta: float = 1e-8,
        l1: float = 0.0,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "gradient_weight": gradient_weight,
            "schedule": schedule,
            "offset": offset,
            "curvature": curvature,
            "beta": beta,
            "delta": delta,
            "l1": l1,
            "low": low,
            "high": high,
        }
        super().__init__(params, defaults)

    @staticmethod
    def parameter_groups(model: nn.Module, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Groups for a model: l1 on matrices and convolution kernels, none on biases and normalization layers.

        Parameters
        ----------
        model : nn.Module
            Its trainable parameters are taken.
        **options
            Those of the constructor.

        Returns
        -------
        groups : list of dict
            Two at most, the regularized one first.
        options : dict
            Those that are for all groups: all but ``l1``.
        """
        norms = {id(value) for module in model.modules() if isinstance(module, _NORMS) for value in module.parameters()}
        regularized: list[tuple[str, Tensor]] = []
        others: list[tuple[str, Tensor]] = []
        for name, value in model.named_parameters():
            if value.requires_grad:
                free = value.dim() < 2 or id(value) in norms or "bias" in name.rpartition(".")[2]
                (others if free else regularized).append((name, value))
        l1 = options.pop("l1", 0.0)
        groups = [{"params": regularized, "l1": l1}, {"params": others, "l1": 0.0}]
        return [group for group in groups if group["params"]], options

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see :class:`torch.optim.Optimizer`."""
        super().add_param_group(param_group)
        _check(self.param_groups[-1])

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; parameters without a gradient stay as they are.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the loss with its gradients and returns it.

        Returns
        -------
        The closure's loss, or None

        Raises
        ------
        InputError
            For sparse gradients, and if a scheduler has made eps_t or rho_t larger than 1.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None:
                    self._update(value, value.grad, group)
        return loss

    @torch.no_grad()
    def finalize(self) -> Finalization:
        """Make exact zeros of the coordinates that the proximal map sends to 0: a step of weight 1 on them alone.

        Call it once, after the last step. Its cost is that of a step without gradients.
        """
        before = after = size = 0
        largest = 0.0
        for group in self.param_groups:
            for value in group["params"]:
                size += value.numel()
                before += _zeros(value)
                state = self.state.get(value)
                if state:
                    found = self._proximal(value, state, group) == 0
                    changed = value[found]
                    largest = max(
                        [largest, *changed.abs().max().reshape(-1).tolist()] if changed.numel() else [largest]
                    )
                    value.masked_fill_(found, 0)
                after += _zeros(value)
        return Finalization(before, after, size, largest)

    def sparsity(self, thresholds: Sequence[float] = THRESHOLDS) -> dict[float, float]:
        """Share of the parameters with l1 (of all, if none has any) whose magnitude is at most each threshold.

        Parameters
        ----------
        thresholds : sequence of float
            0 counts exact zeros.

        Returns
        -------
        dict of threshold → share in [0, 1]
        """
        groups = [group for group in self.param_groups if group["l1"] > 0] or self.param_groups
        values = [value.detach() for group in groups for value in group["params"]]
        size = sum(value.numel() for value in values)
        return {
            threshold: sum(int((value.abs() <= threshold).sum()) for value in values) / size for threshold in thresholds
        }

    def check_schedule(self) -> list[str]:
        """Say which conditions of the convergence theorem the schedules break; none is what the theorem covers.

        The theorem (smooth loss, unbiased gradients of bounded variance, tau bounded) wants Σ rho_t = Σ eps_t = ∞,
        Σ rho_t² < ∞, Σ eps_t² < ∞ and eps_t/rho_t → 0. Learning-rate schedulers are not looked at.

        Returns
        -------
        list of str
            One sentence per broken condition and group.
        """
        broken = []
        for index, group in enumerate(self.param_groups):
            a, b = _exponents(group["schedule"])
            conditions = [
                (a <= 1, f"the sum of rho_t is finite (a = {a:g} > 1): the momentum stops following the gradient"),
                (a > 0.5, f"the sum of rho_t² is infinite (a = {a:g} ≤ 0.5): the momentum's noise does not vanish"),
                (b <= 1, f"the sum of eps_t is finite (b = {b:g} > 1): the steps may end before a stationary point"),
                (b > 0.5, f"the sum of eps_t² is infinite (b = {b:g} ≤ 0.5): the steps' noise does not vanish"),
                (
                    b > a,
                    f"eps_t/rho_t does not vanish (b = {b:g} ≤ a = {a:g}): the momentum lags behind the parameters",
                ),
            ]
            broken += [f"group {index}: {text}" for holds, text in conditions if not holds]
        return broken

    def _update(self, value: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if gradient.is_sparse:
            raise InputError("ProxSGD needs dense gradients, but one is sparse: build the embedding with sparse=False")
        state = self.state[value]
        adaptive = group["curvature"] == "adaptive"
        if not state:
            state["step"] = 0
            state["momentum"] = torch.zeros_like(value, memory_format=torch.preserve_format)
        if adaptive and "second_moment" not in state:
            state["second_moment"] = torch.zeros_like(value, memory_format=torch.preserve_format)
        gradient_weight, step_weight = _weights(group, state["step"])
        state["momentum"].lerp_(gradient, gradient_weight)
        if adaptive:
            state["second_moment"].mul_(group["beta"]).addcmul_(gradient, gradient, value=1 - group["beta"])
        state["step"] += 1
        value.lerp_(self._proximal(value, state, group), step_weight)

    def _proximal(self, value: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """The minimizer y of eq. 7 at the present parameters and moments, in a new tensor."""
        l1, momentum = group["l1"], state["momentum"]
        # z − clip(z, ±threshold) is the soft threshold, with zeros that are exact and positive.
        if group["curvature"] == "adaptive":
            # state["step"] counts this step already: the correction of the first step is 1 − beta.
            correction = 1 - group["beta"] ** state["step"]
            curvature = (state["second_moment"] / correction).sqrt_().add_(group["delta"])
            target = torch.addcdiv(value, momentum, curvature, value=-1)
            if l1 > 0:
                thresholds = curvature.reciprocal_().mul_(l1)
                target.sub_(torch.clamp(target, min=thresholds.neg(), max=thresholds))
        else:
            target = torch.sub(value, momentum, alpha=1 / group["curvature"])
            if l1 > 0:
                threshold = l1 / group["curvature"]
                target.sub_(target.clamp(min=-threshold, max=threshold))
        if group["low"] is not None or group["high"] is not None:
            target.clamp_(min=group["low"], max=group["high"])
        return target


def _exponents(schedule: Any) -> tuple[float, float]:
    """The exponents (a, b) of a schedule.

    Raises
    ------
    InputError
        If it is neither a known name nor two numbers that are not negative.
    """
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]
    if isinstance(schedule, Sequence) and len(schedule) == 2 and all(_is_number(value, 0) for value in schedule):
        return float(schedule[0]), float(schedule[1])
    raise InputError(
        f"ProxSGD: schedule={schedule!r} is none of {', '.join(SCHEDULES)}, nor two exponents (a, b) such as (0.5, 0.6)"
    )


def _weights(group: dict[str, Any], step: int) -> tuple[float, float]:
    """Both weights, rho_t and eps_t, of step t = 0, 1, …."""
    a, b = _exponents(group["schedule"])
    base = step + group["offset"]
    gradient_weight = float(group["gradient_weight"]) * base**-a
    step_weight = float(group["lr"]) * base**-b
    for name, weight, symbol in (("lr", step_weight, "eps_t"), ("gradient_weight", gradient_weight, "rho_t")):
        if not 0 <= weight <= 1:
            raise InputError(
                f"ProxSGD: {name}={float(group[name]):g} gives {symbol} = {weight:g} at step {step}, but it is the "
                "weight of an average and must lie between 0 and 1: give a smaller one"
            )
    return gradient_weight, step_weight


def _check(group: dict[str, Any]) -> None:
    """Refuse options that have no meaning."""
    for name, least, strict in (
        ("lr", 0, False),
        ("gradient_weight", 0, True),
        ("offset", 0, True),
        ("delta", 0, True),
        ("l1", 0, False),
    ):
        if not _is_number(group[name], least, strict):
            raise InputError(
                f"ProxSGD: {name} must be a finite number {'above' if strict else 'of at least'} 0, not {group[name]!r}"
            )
    if not (_is_number(group["beta"], 0) and group["beta"] < 1):
        raise InputError(f"ProxSGD: beta must lie in [0, 1), not {group['beta']!r}")
    if group["curvature"] != "adaptive" and not _is_number(group["curvature"], 0, strict=True):
        raise InputError(f'ProxSGD: curvature must be "adaptive" or a positive number, not {group["curvature"]!r}')
    for name in ("low", "high"):
        if group[name] is not None and (not isinstance(group[name], int | float) or math.isnan(group[name])):
            raise InputError(f"ProxSGD: {name} must be a number or None, not {group[name]!r}")
    low = -math.inf if group["low"] is None else group["low"]
    high = math.inf if group["high"] is None else group["high"]
    if low > high:
        raise InputError(f"ProxSGD: the box is empty: low={low:g} is above high={high:g}")
    if any(value.is_complex() for value in group["params"]):
        raise InputError("ProxSGD: complex parameters are not supported; use their real view, torch.view_as_real")
    _weights(group, 0)


def _is_number(value: Any, least: float, strict: bool = False) -> bool:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return value > least if strict else value >= least


def _zeros(value: Tensor) -> int:
    return value.numel() - int(torch.count_nonzero(value))
