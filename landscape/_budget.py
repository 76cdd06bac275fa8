"""Which memory mode a run gets: by name, or the most accurate that fits a budget."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from landscape._capacity import bytes_of, host_bytes, in_words
from landscape.errors import InputError
from landscape.krylov import MODES, Memory, needs

if TYPE_CHECKING:
    import torch

# From the most accurate to the least; the basis is never put on a disk, which may be in memory itself, unasked.
BY_ACCURACY = ("full", "host", "float32", "float16", "minimal")
NAMES = ("auto", *MODES)
# Of all the memory of a computer, for the Lanczos runs of its ranks.
SHARE = 0.8


def choose(
    memory: str,
    budget: int | float | str | None,
    n: int,
    steps: int,
    ranks: int,
    dtype: torch.dtype,
    device: torch.device,
    ranks_on_host: int = 1,
) -> Memory:
    """The memory mode of a Lanczos run.

    Parameters
    ----------
    memory : str
        One of ``MODES``, or "auto": the most accurate that fits.
    budget : bytes, optional
        Per rank, on the device of the computation, for the run's vectors; default: what there is.
    n, steps, ranks : int
        See :func:`~landscape.krylov.needs`.

    Raises
    ------
    InputError
        If nothing fits, with the least budget that would do; or if the mode makes no sense here.
    """
    if memory not in NAMES:
        raise InputError(f"unknown memory mode {memory!r}; choose {', '.join(NAMES)}")
    limit = bytes_of(budget) if budget is not None else None
    itemsize = dtype.itemsize
    usable = [name for name in BY_ACCURACY if _reason(MODES[name], itemsize, device) is None]
    if memory != "auto":
        reason = _reason(MODES[memory], itemsize, device)
        if reason is not None:
            raise InputError(f'memory="{memory}": {reason}')
        least = needs(MODES[memory], n, steps, ranks, itemsize).device
        if limit is not None and least > limit:
            raise InputError(
                f'memory_budget = {in_words(limit)} per rank is too small for memory="{memory}": {steps} products with '
                f"{n} parameters on {ranks} rank{'s' if ranks > 1 else ''} need {in_words(least)} ({least} bytes); "
                'give as much, use more ranks, or memory="auto"'
            )
        return MODES[memory]
    available = SHARE * _installed(device, ranks_on_host)
    for name in usable:
        need = needs(MODES[name], n, steps, ranks, itemsize)
        host = SHARE * host_bytes() / ranks_on_host
        if need.device <= (limit if limit is not None else available) and need.host <= host:
            return MODES[name]
    least = needs(MODES["minimal"], n, steps, ranks, itemsize).device
    if limit is None:
        # What is installed is an upper bound of what there is, not a promise: the attempt tells.
        return MODES["minimal"]
    raise InputError(
        f'memory_budget = {in_words(limit)} per rank is too small: memory="minimal", which needs the least, takes '
        f"{in_words(least)} ({least} bytes) for {n} parameters on {ranks} rank{'s' if ranks > 1 else ''}; "
        "give as much, or use more ranks"
    )


def check_fits(numbers: int, dtype: torch.dtype, device: torch.device, ranks_on_host: int, advice: str) -> None:
    """Refuse what cannot fit into the memory that is installed.

    Parameters
    ----------
    numbers : int
        To be kept by this rank.
    advice : str
        What needs less.

    Raises
    ------
    InputError
    """
    need, there = float(numbers * dtype.itemsize), SHARE * _installed(device, ranks_on_host)
    if need > there:
        raise InputError(
            f"the Lanczos vectors need up to {in_words(need)} per rank, there are {in_words(there)}: {advice}"
        )


def _installed(device: torch.device, ranks_on_host: int) -> float:
    if device.type == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(device).total_memory)
    return host_bytes() / ranks_on_host


def _reason(mode: Memory, itemsize: int, device: torch.device) -> str | None:
    """Why a mode makes no sense here; None if it does."""
    if mode.storage is not None and mode.storage.itemsize >= itemsize:
        return f"the computation is in {mode.name} already; use full"
    if mode.place == "host" and device.type == "cpu":
        return "the computation is on the host already; use full, or disk for a file in the temporary folder"
    if mode.place == "disk" and not hasattr(os, "preadv"):
        return "this system cannot read at an offset of a file; use another mode"
    return None
