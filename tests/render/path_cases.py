"""Paths between two minima whose values are known in closed form, and matrices of barriers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape.records import Connectivity, PathProfile, SpectralDensity, Surface
from landscape.records.densities import packed
from tests.render.surface_cases import bowl

N = 2762


def density(s, height, n=N, scale=1.0):
    """A bulk around zero and eight outliers, which rise with the height; what is negative does, too."""
    outliers = scale * (2.0 + 14.0 * height) * 0.72 ** np.arange(8) * (1 + 0.1 * np.sin(3 * s + np.arange(8)))
    negative = -scale * (0.05 + 1.5 * height) * np.array([1.0, 0.55, 0.3])
    bulk = scale * np.concatenate([-np.geomspace(0.03 + 0.3 * height, 1e-4, 20), np.geomspace(1e-4, 0.4, 40)])
    nodes = np.concatenate([negative, bulk, outliers])
    shares = np.concatenate([np.geomspace(0.2, 20, 20), np.geomspace(20, 0.2, 40)])
    weights = np.concatenate([np.full(3, 1 / n), (1 - 11 / n) * shares / shares.sum(), np.full(8, 1 / n)])
    order = np.argsort(nodes)
    resolved = np.concatenate([np.ones(3, bool), np.zeros(60, bool), np.ones(8, bool)])[order]
    residuals = np.where(resolved, 1e-5, 0.02) * scale
    return SpectralDensity(
        nodes[order], weights[order], n, resolved=resolved, residuals=residuals, trace=float(n * weights @ nodes),
        trace_stderr=0.5, error=0.04, tol=0.05, converged=True, noise_floor=1e-6,
    )  # fmt: skip


def profile(points=25, height=1.4, margin=0.0, spectra=True, scale=1.0, path="linear", seed=0, **changes):
    """A loss with one bump of so much at s = 0.45, and the densities there."""
    random = np.random.default_rng(seed)
    outer = round(margin * (points - 1))
    s = np.linspace(0, 1, points) if points > 1 else np.zeros(1)
    if outer:
        s = np.arange(-outer, points + outer) / (points - 1)
    bump = np.where((s > 0) & (s < 1), np.sin(np.pi * np.clip(s, 0, 1) ** 0.87) ** 2, 0.0)
    loss = 0.03 + 0.02 * s + height * bump + 0.6 * np.maximum(np.abs(s - 0.5) - 0.5, 0) ** 2
    parts = loss * (1 + 0.12 * random.standard_normal((50, 1))) + 0.02 * random.standard_normal((50, len(s)))
    parts += loss - parts.mean(0)
    accuracy = 1 - 0.4 * height * bump - 0.01 * s
    rise = height / 1.4 * bump
    densities = [density(float(place), float(one), scale=scale) for place, one in zip(s, rise, strict=True)]
    largest = np.stack([one.eigenvalues[::-1][:5] for one in densities])
    coordinates = np.column_stack([8 * s, 6 * s * (1 - s)]) if path == "bezier" else np.zeros((0, 2))
    facts = {
        "metrics": {"accuracy": accuracy, "test_loss": 1.15 * loss + 0.05, "test_accuracy": accuracy - 0.04},
        "samples": parts, "sample_weights": np.ones(50), "n": N, "path": path,
        "end_names": np.array(["SGD", "ProxSGD"]),
        "path_source": {"linear": "straight line"}.get(path, "quadratic Bézier curve, fitted for 40 epochs"),
        "length": 8.0 if path == "linear" else 11.2, "distance": 8.0, "gradient_norms": 0.02 + 2.2 * rise * (1 - bump),
        "slopes": np.gradient(loss, s) / 8 if points > 1 else np.zeros(1),
        "curvatures": scale * (0.4 - 0.9 * height / 1.4 * bump),
        "values": largest, "residuals": 1e-3 * largest, "smallest": np.array([one.lambda_min for one in densities]),
        "smallest_residuals": np.full(len(s), 1e-3), "tangent_overlap": 0.02 + 0.3 * bump,
        "end_overlap": np.column_stack([np.exp(-3 * np.abs(s)), np.exp(-3 * np.abs(1 - s))]),
        "distances": 8 * np.column_stack([np.abs(s), np.abs(1 - s)]),
        "function_distances": 3 * np.column_stack([np.abs(s), np.abs(1 - s)]), "coordinates": coordinates,
        "end_loss": np.array([0.03, 0.05]), "provenance": {"parts": "micro-batches"},
        "product_counts": np.full(len(s), 60), "warm": np.arange(len(s)) > 0,
    }  # fmt: skip
    if spectra:
        facts |= packed(densities)
    else:
        facts |= {"values": np.zeros((0, 0)), "smallest": np.zeros(0), "end_overlap": np.zeros((0, 2))}
        facts |= {"tangent_overlap": np.zeros(0), "residuals": np.zeros((0, 0)), "smallest_residuals": np.zeros(0)}
    return PathProfile(s=s, loss=loss, **{**facts, **changes})


def bare(points=11, **changes):
    """Nothing but a loss."""
    s = np.linspace(0, 1, points)
    return PathProfile(s=s, loss=0.5 + s * (1 - s), **changes)


def holed():
    """Losses that are not finite, one of them between two others, and a density that is none."""
    record = profile()
    loss = record.loss.copy()
    loss[[5, 7, 12, 13]] = np.nan
    loss[20] = np.inf
    densities = list(record.densities)
    densities[6] = replace(densities[6], nodes=np.full(len(densities[6].nodes), np.nan))
    return replace(record, loss=loss, **packed(densities))


def wide():
    """Eigenvalues that grow a thousandfold at the barrier."""
    record = profile()
    bump = (record.loss - record.chord) / record.barrier
    densities = [density(float(s), 0.4, scale=10 ** (3 * one)) for s, one in zip(record.s, bump, strict=True)]
    values = np.stack([one.eigenvalues[::-1][:5] for one in densities])
    smallest = np.array([one.lambda_min for one in densities])
    return replace(record, values=values, smallest=smallest, **packed(densities))


def plane_of(record, nx=41, ny=31, **changes):
    """The plane of a curved path, with the ends and the control point."""
    facts = {
        "plane": "points", "axes": np.array(["SGD → ProxSGD", "beside control"]),
        "anchor_names": np.array([*record.end_names, "control"]), "anchor_loss": np.array([0.03, 0.05, 0.4]),
        "anchor_coordinates": np.array([[0.0, 0], [8, 0], [4, 3.4]]), "n": N,
    }  # fmt: skip
    x, y = np.linspace(-2, 10, nx), np.linspace(-2.2, 5, ny)
    loss = 0.03 + 1.2 * np.sin(np.pi * np.clip(x / 8, 0, 1)) ** 2 * np.exp(-((y[:, None] - 0.2) ** 2))
    loss = loss + 0.02 * bowl(x[None, :] / 4 - 1, y[:, None] / 2)
    return Surface(x=x, y=y, loss=loss, **{**facts, **changes})


def barriers(count=5, groups=2, seed=0, **changes):
    """Minima in groups: low ways inside of a group, high ones between; every second one is of the same group."""
    random = np.random.default_rng(seed)
    group = np.arange(count) % groups
    same = group[:, None] == group
    values = np.where(same, random.uniform(0, 0.004, (count, count)), random.uniform(0.8, 2.4, (count, count)))
    values = np.triu(values, 1) + np.triu(values, 1).T
    far = np.where(same, 3.0, 9.0) + random.uniform(0, 1, (count, count))
    far = np.triu(far, 1) + np.triu(far, 1).T
    s = np.linspace(0, 1, 11)
    facts = {
        "point_loss": random.uniform(0.02, 0.06, count), "barrier_stderr": 0.05 * values, "distances": far,
        "function_distances": far / 4, "s": s, "loss_between": 4 * values[..., None] * s * (1 - s), "n": N,
        "point_names": np.array([f"seed {index}" for index in range(count)]),
        "point_metrics": {"accuracy": np.full(count, 0.98)}, "evaluations": 11 * count * (count - 1) // 2,
        "alignment": "weights", "provenance": {"parts": "micro-batches"},
    }  # fmt: skip
    return Connectivity(barriers=values, **{**facts, **changes})
