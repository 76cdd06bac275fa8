"""A run in memory, with what planes need of a Trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from landscape.records import Checkpoint


class Run:
    def __init__(self, theta, names=(), shapes=(), steps=None, block: int = 3, name: str = "run", buffers=None) -> None:
        self.theta_ = np.asarray(theta)
        self.names, self.shapes = tuple(names), tuple(shapes)
        self.steps = np.arange(len(self.theta_)) if steps is None else np.asarray(steps)
        self.losses = np.full(len(self.theta_), np.nan)
        self.block, self.name, self.buffers = block, name, buffers or {}
        self.n = self.theta_.shape[1]
        self.provenance: dict = {}

    def __len__(self) -> int:
        return len(self.theta_)

    def __getitem__(self, index: int) -> Checkpoint:
        return Checkpoint(self.theta_[index], self.buffers, self.names, self.shapes, int(self.steps[index]))

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(self), self.block):
            yield start, self.theta_[start : start + self.block]

    def digest(self) -> str:
        return "in memory"


def random_walk(length: int, n: int, seed: int, start: np.ndarray | None = None) -> np.ndarray:
    steps = np.random.default_rng(seed).standard_normal((length - 1, n))
    first = np.zeros((1, n)) if start is None else start[None]
    return first + np.concatenate([np.zeros((1, n)), np.cumsum(steps, 0)])


def flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])
