"""Time until a density is as good in a plot as 800 classical products (10 runs of 80), ours and other tools'.

For nets of about 2500 parameters with known spectra (`networks.py`): the fewest products of ours whose plotted
distance, the mean over seeds, is that of the classical recipe (as in `density.py`), the wall time of that many products
of ours from beginning to end, and the wall time of 800 products of curvlinops and of PyHessian's density. For
ResNet-20, whose spectrum is not known: as many products as the median and the worst of these nets need, tracing
included, against 800 products of the faster tool, of which five are timed. One thread, one core.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import rivals
import torch
from density import PRODUCTS, SEEDS, Truth, enough, fixed, mean_distances, run
from networks import NETS, spectrum, trained
from reference_nets import resnet20_128
from report import pin, summary, write
from torch import Tensor, nn

import landscape as ls

PROBES, STEPS = 10, 80
TIMED = 5


class Mean(nn.Module):
    """A loss function as a module that says that it is a mean, as other tools want it."""

    reduction = "mean"

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """A number."""
        return self.function(output, target)


def main() -> None:
    """Measure and report."""
    pin(0)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures: dict[str, Any] = {}
    each = {name: known(name) for name in NETS}
    for what in ("products", "times faster than the fastest other tool"):
        numbers = [net[what] for net in each.values()]
        figures[f"plotted as good as 800 classical: {what}"] = {**summary(numbers), "networks": each}
    needed = figures["plotted as good as 800 classical: products"]
    figures |= large({"median": int(needed["median"]), "worst": int(needed["most"])})
    write("spectrum", figures)


def known(name: str) -> dict[str, float]:
    """Products and times of one net with a known spectrum."""
    eigenvalues, _ = spectrum(name)
    truth = Truth(eigenvalues)
    classical = mean_distances(truth, [run(eigenvalues, seed, method="classical") for seed in SEEDS])[0]
    curve = {m: mean_distances(truth, [fixed(eigenvalues, seed, m) for seed in SEEDS])[0] for m in PRODUCTS}
    products = enough(curve, classical)
    net = NETS[name]
    model, loss, inputs, labels = trained(net)
    batches = [(inputs, labels)]
    seconds = {}
    objective = ls.Objective(model, loss, batches, weight_decay=net.weight_decay)
    vector = torch.randn(objective.n)
    seconds["ours"] = _seconds(
        lambda: ls.spectral_density(ls.Hessian(objective), tol=1e-9, max_products=int(products)), 3
    )
    theirs = rivals.curvlinops(model, Mean(loss), batches)
    seconds["curvlinops"] = PROBES * STEPS * _seconds(lambda: theirs(vector), 30)
    seconds["pyhessian"] = _seconds(lambda: rivals.pyhessian_density(model, Mean(loss), batches, PROBES, STEPS), 1)
    faster = min(seconds["curvlinops"], seconds["pyhessian"])
    facts = {"products": products, "times faster than the fastest other tool": faster / seconds["ours"]}
    facts |= {f"seconds, {tool}": value for tool, value in seconds.items()}
    print(name, {key: round(value, 3) for key, value in facts.items()}, flush=True)
    return facts


def large(products: dict[str, int]) -> dict[str, Any]:
    """The same times for ResNet-20 on one batch of 128 images."""
    model, loss, data = resnet20_128()
    model.eval()
    one = torch.randn(sum(value.numel() for value in model.parameters()))
    per_product = {
        tool: _seconds(lambda build=build: build(one), TIMED)
        for tool, build in (
            ("curvlinops", rivals.curvlinops(model, loss, [data])),
            ("pyhessian", rivals.pyhessian(model, loss, [data])),
        )
    }
    fastest = PROBES * STEPS * min(per_product.values())
    figures = {}
    for which, count in products.items():
        objective = ls.Objective(model, loss, [data])
        started = time.perf_counter()
        ls.spectral_density(ls.Hessian(objective), tol=1e-9, max_products=count)
        ratio = fastest / (time.perf_counter() - started)
        figures[f"ResNet-20, {count} products ({which}), tracing included: times faster than 800 of the fastest"] = (
            summary([ratio])
        )
    return figures


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
