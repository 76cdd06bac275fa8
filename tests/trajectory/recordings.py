"""A small network with everything that a recording has to keep, and a loop that records it."""

from __future__ import annotations

import torch
from torch import nn

from landscape.trajectory import Recorder


def network(seed=0, dtype=torch.float32):
    """Trained, frozen and tied parameters, and buffers of two kinds."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2)).to(dtype)
    model[0].bias.requires_grad_(False)
    return model


def data(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(24, 3, generator=generator, dtype=torch.float64).to(dtype)
    return x, (x.sum(1) > 0).long()


def trained(model):
    return [value for value in model.parameters() if value.requires_grad]


def flat(model):
    """Theta, by torch's own function."""
    return nn.utils.parameters_to_vector(trained(model)).detach().numpy().copy()


def train(model, optimizer, steps, recorder=None, after=lambda step: None):
    """A user's loop."""
    x, y = data(next(model.parameters()).dtype)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)
        after(step)


def record(path, steps=10, seed=0, optimizer=None, **options):
    """Record a run of the small network; what was there at every step comes back too."""
    model = network(seed)
    optimizer = optimizer(trained(model)) if optimizer else torch.optim.SGD(trained(model), lr=0.1, momentum=0.9)
    seen = [flat(model)]
    with Recorder(path, model, optimizer, **options) as recorder:
        train(model, optimizer, steps, recorder, lambda step: seen.append(flat(model)))
    return model, seen
