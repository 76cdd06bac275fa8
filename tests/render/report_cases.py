"""One result of every kind that a report shows, with the same word wherever a file may hold text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from landscape.records import DensitySeries, EigenSeries, Profile, Stability
from tests.render.path_cases import barriers
from tests.render.path_cases import profile as path_between
from tests.render.surface_cases import densities as bare_densities
from tests.render.surface_cases import eigen_pairs, surface

N = 2762
HOSTILE = (
    '</script><script>document.hacked=1</script><!-- <img src=x onerror="document.hacked=2"> \'"&amp;& '
    "javascript:document.hacked=3 <b>bold</b> %{x} ${1} {title} \u2028\u2029 ü"
)


def densities(count, n=N):
    """Densities along a run, with residuals: without them there is no band."""
    residuals = np.where(np.arange(33) >= 30, 1e-4, 0.02)
    return [(step, replace(one, residuals=residuals)) for step, one in bare_densities(count, n)]


@dataclass
class Run:
    """What a page shows of a recorded run."""

    name: str = "SGD"
    n: int = N
    steps: Any = field(default_factory=lambda: 10 * np.arange(40))
    losses: Any = field(default_factory=lambda: np.geomspace(2, 0.1, 40))
    learning_rates: Any = field(default_factory=lambda: np.linspace(0.1, 0.01, 40))
    complete: bool = False
    optimizer: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def provenance(word):
    return {"asked": {"objective": word, word: word}, "list": [word], word: 1}


def eigen_series(word="SGD", seed=0):
    random = np.random.default_rng(seed)
    steps = 40 * np.arange(10)
    values = np.sort(random.uniform(1, 9, (10, 3)), axis=1)[:, ::-1] * np.linspace(0.2, 3, 10)[:, None]
    residuals = 1e-3 * values
    residuals[4, 2] = 0.5
    return EigenSeries(
        steps=steps, values=values, residuals=residuals, converged=residuals < 0.1, n=N, tol=0.01,
        loss=np.ones(10), losses=np.ones(10), learning_rates=np.full(10, 0.1), scales=values[:, 0],
        noise_floors=np.full(10, 1e-6), product_counts=np.full(10, 20), warm=np.ones(10, bool),
        theta_sha256=np.array([word] * 10), which=word, run=word, optimizer={"class": word},
        provenance=provenance(word),
    )  # fmt: skip


def density_series(word="SGD"):
    return DensitySeries.of(
        [replace(density, operator=word) for _, density in densities(5, N)], steps=50 * np.arange(5), loss=np.ones(5),
        losses=np.ones(5), learning_rates=np.ones(5), theta_sha256=np.array([word] * 5), run=word,
        optimizer={"class": word},
        provenance=provenance(word),
    )  # fmt: skip


def profile(word="direction_1", seed=0):
    random = np.random.default_rng(seed)
    s = np.linspace(-1, 1, 21)
    samples = 0.5 + (1 + 0.2 * random.normal(size=(8, 1))) * s**2
    return Profile(
        s=s, loss=samples.mean(0), samples=samples, sample_weights=np.ones(8), axis=word, axis_source=word, unit=word,
        slope=0.0, curvature=2.0, anchor_names=np.array([word, word]), anchor_s=np.array([0.0, 1.0]),
        anchor_loss=np.array([0.5, 1.5]), n=N, parameters=word, batchnorm=word, theta_sha256=word,
        provenance=provenance(word),
    )  # fmt: skip


def stability(word="SGD"):
    steps = 20 * np.arange(12)
    return Stability(
        steps=steps, sharpness=np.linspace(3, 22, 12), residuals=np.full(12, 0.3), threshold=np.full(12, 20.0),
        gradient_share=np.full(12, 0.1), learning_rates=np.full(12, 0.1), losses=np.ones(12), optimizer=word,
        operator=word, rule=word, provenance=provenance(word),
    )  # fmt: skip


def path_profile(word="SGD"):
    found = path_between(points=9)
    metrics = {word: found.metrics["accuracy"], "test_loss": found.loss, f"test_{word}": found.metrics["accuracy"]}
    return replace(
        found, path=word, path_source=word, end_names=np.array([word, word]), batchnorm=word, metrics=metrics,
        words={**found.words, "operator": word}, provenance={**provenance(word), "parts": word},
    )  # fmt: skip


def connectivity(word="SGD"):
    return barriers(
        4, point_names=np.array([word] * 4), path=word, alignment=word, batchnorm=word, provenance=provenance(word),
        point_metrics={word: np.ones(4)},
    )  # fmt: skip


def everything(word="SGD"):
    """One of every kind; their texts are the word."""
    found = surface(runs=2, n=N)
    names = np.array([word, f"{word} 2"])
    plane = replace(
        found, path_names=names, axes=np.array([word, word]), axis_sources=np.array([word, word]), plane=word,
        unit=word,
        metrics={word: found.loss, "accuracy": 1 / (1 + found.loss)}, anchor_names=np.array([word, word]),
        anchor_coordinates=np.array([[0.0, 0.0], [1.0, 1.0]]), anchor_loss=np.ones(2), parameters=word, batchnorm=word,
        theta_sha256=word, path_threshold=np.full(len(found.path_run), 20.0), provenance=provenance(word),
    )  # fmt: skip
    alone, first, second = (replace(density, operator=word) for _, density in densities(3, N))
    return [
        plane, Run(word, optimizer={"class": word}, provenance=provenance(word)),
        replace(alone, method=word, memory=word, error=0.3, tol=0.1, provenance=provenance(word)),
        *(replace(one, provenance={"step": step, "run": word}) for step, one in ((0, first), (90, second))),
        density_series(word), eigen_pairs(n=N, which=word, operator=word, provenance=provenance(word)),
        eigen_series(word), profile(word), stability(word), path_profile(word), connectivity(word),
    ]  # fmt: skip
