"""Cost of a Hessian-vector product in gradients of the same batch, ours and other tools': one thread, interleaved.

A gradient is one call of `torch.autograd.grad` on the eager network, without anything of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rivals
import torch
from reference_nets import NETS
from report import pin, summary, write
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import landscape as ls

REPEATS = 7
BLOCK = 8
OURS = {
    "ours, cached": ("linearized", None, 1),
    "ours, streaming, one vector": ("linearized", 1, 1),
    f"ours, streaming, block of {BLOCK}": ("linearized", 1, BLOCK),
    "ours, compiled, cached": ("compiled", None, 1),
    "ours, compiled, streaming, one vector": ("compiled", 1, 1),
    "ours, double backward, graph kept": ("double_backward", None, 1),
    "ours, double backward from scratch": ("double_backward", 1, 1),
    "ours, forward over reverse": ("forward_over_reverse", 1, 1),
}


def main() -> None:
    """Measure and report."""
    pin(0)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures: dict[str, Any] = {}
    for name, build in NETS.items():
        figures |= {f"{name}: {what}": figure for what, figure in measured(*build()).items()}
    write("product", figures)


def measured(model: Any, loss: Any, data: Any) -> dict[str, Any]:
    """Gradients per vector of every way, and the floors by counting operations."""
    model.eval()
    objective = ls.Objective(model, loss, [data])
    one, block = torch.randn(objective.n), torch.randn(objective.n, BLOCK)
    parameters = list(model.parameters())

    def gradient() -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return torch.autograd.grad(loss(model(data[0]), data[1]), parameters)

    calls: dict[str, tuple[Callable[[], Any], int]] = {}
    figures: dict[str, Any] = {}
    hessians = {}
    for what, (product, budget, k) in OURS.items():
        hessian = hessians.setdefault((product, budget), ls.Hessian(objective, product, memory_budget=budget))
        calls[what] = (lambda hessian=hessian, v=one if k == 1 else block: hessian @ v), k
    for tool in ("curvlinops", "pyhessian"):
        theirs = getattr(rivals, tool)(model, loss, [data])
        calls[f"{tool}, one vector"] = (lambda theirs=theirs: theirs(one)), 1
        if tool == "curvlinops":
            calls[f"{tool}, block of {BLOCK}"] = (lambda theirs=theirs: theirs(block)), BLOCK
    unit = _seconds(gradient)
    for what, (call, _) in calls.items():
        first = _seconds(call)
        if what in ("ours, cached", "ours, compiled, cached"):
            figures[f"{what}: first product, with tracing, in seconds"] = summary([first])
    expected = hessians["double_backward", 1] @ one
    for key, hessian in hessians.items():
        off = float((hessian @ one - expected).norm() / expected.norm())
        figures[f"distance from double backward: {key[0]}"] = summary([off])
    ratios: dict[str, list[float]] = {what: [] for what in calls}
    for _ in range(REPEATS):
        for what, (call, k) in calls.items():
            before = _seconds(gradient)
            seconds = _seconds(call)
            ratios[what].append(seconds / k / min(before, _seconds(gradient)))
    figures |= {what: summary(values) for what, values in ratios.items()}
    kept = hessians["linearized", None]._way().kept
    figures["ours, cached: MB kept"] = summary([kept.bytes / 1e6])
    figures["gradient, ms"] = summary([1e3 * unit])
    per_gradient = _operations(gradient)
    for what in ("ours, cached", "ours, streaming, one vector"):
        figures[f"{what}: operations / those of a gradient"] = summary([_operations(calls[what][0]) / per_gradient])
    return figures


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _operations(call: Callable[[], Any]) -> float:
    # Torch does not count the product in place.
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **options: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        call()
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
