"""Batch norm of a network: its layers, and how surfaces may treat their statistics."""

from __future__ import annotations

from torch import nn

from landscape.errors import InputError

Norm = nn.modules.batchnorm._BatchNorm

# eval: the statistics of the origin everywhere; recompute: those of the data at each point; batch: those of each
# micro-batch.
MODES = ("eval", "recompute", "batch")


def norms_of(module: nn.Module) -> dict[str, Norm]:
    """Batch-norm layers by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Norm)}


def mode_in(module: nn.Module, mode: str) -> str:
    """How a network uses batch norm if it is asked to do so: the mode, or "none".

    Raises
    ------
    InputError
        If there is no such mode.
    """
    if mode not in MODES:
        raise InputError(f"batchnorm must be one of {', '.join(MODES)}, not {mode!r}")
    return mode if norms_of(module) else "none"
