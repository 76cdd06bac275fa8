"""Cost of one product in gradients of the same data: one thread, pinned, the two sides interleaved."""

from __future__ import annotations

import time

import torch
from report import pin, summary, write

import landscape as ls
from landscape import zoo

REPEATS = 9


def main() -> None:
    """Measure and report."""
    pin(0)
    torch.set_num_threads(1)
    figures = {}
    for name in ("digits-mlp", "digits-cnn", "digits-resnet"):
        objective = zoo.build(name, epochs=1)
        vector = torch.randn(objective.n, generator=torch.Generator().manual_seed(0))
        operators = {
            "hessian, double backward": ls.Hessian(objective, "double_backward"),
            "hessian, forward over reverse": ls.Hessian(objective, "forward_over_reverse"),
            "gauss-newton": ls.GaussNewton(objective),
            "fisher": ls.EmpiricalFisher(objective),
        }
        for kind, operator in operators.items():
            operator @ vector
            objective.gradient()
            ratios = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                objective.gradient()
                middle = time.perf_counter()
                operator @ vector
                ratios.append((time.perf_counter() - middle) / (middle - start))
            figures[f"{name}: {kind} / gradient"] = summary(ratios)
    write("product", figures)


if __name__ == "__main__":
    main()
