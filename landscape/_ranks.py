"""What the ranks of a job must agree on before they compute together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import InputError
from landscape.parallel import Collectives

# Ranks may differ by rounding (the rest is broadcast), not by their random seed.
LARGEST_DIFFERENCE = 1e-2


def refused_together(action: Callable[[], Any], ranks: Collectives) -> None:
    """Do something that one rank may refuse, and refuse it on all of them (collective)."""
    message = None
    try:
        action()
    except InputError as error:
        message = str(error)
    refusals = [text for text in ranks.all_gather_object(message) if text is not None]
    if refusals:
        raise InputError(refusals[0])


def answer_of_first_rank(question: Callable[[], Any], ranks: Collectives) -> Any:
    """What the first rank answers; what it refuses is refused on all of them (collective)."""
    answer = None

    def ask() -> None:
        nonlocal answer
        answer = question() if ranks.rank == 0 else None

    refused_together(ask, ranks)
    return ranks.broadcast_object(answer)


def check_same(facts: dict[str, str], ranks: Collectives) -> None:
    """Compare facts that must be the same on every rank; a difference names the rank (collective)."""
    reference = ranks.broadcast_object(facts)
    for rank, theirs in enumerate(ranks.all_gather_object(facts)):
        different = [what for what, value in reference.items() if theirs[what] != value]
        if different:
            raise InputError(
                f"rank {rank} differs from rank 0 in {', '.join(different)}; every rank must build the same Objective"
            )


def common_point(theta: Tensor, ranks: Collectives) -> Tensor:
    """The parameters of rank 0, if those of the others are the same but for rounding (collective)."""
    reference = theta.clone()
    ranks.broadcast(reference)
    scale = float(torch.linalg.vector_norm(reference.double()))
    distances = ranks.all_gather_object(float(torch.linalg.vector_norm(theta.double() - reference.double())))
    worst = int(np.argmax(distances))
    if not np.isfinite(distances[worst]):
        broken = int((~torch.isfinite(theta)).sum())
        raise InputError(
            f"the parameters are not finite: {broken} of {theta.numel():,} are nan or infinite; did training diverge?"
            if broken
            else f"the parameters of rank {worst} are not finite"
        )
    if not distances[worst] <= LARGEST_DIFFERENCE * scale:
        raise InputError(
            f"rank {worst} arrived with other parameters than rank 0 (distance {distances[worst] / (scale or 1):.2g} "
            "times their norm): was the model built or trained without a seed? Seed every rank alike, or load the same "
            "checkpoint on all of them"
        )
    return reference


def common_tensors(values: dict[str, Tensor], ranks: Collectives) -> dict[str, Tensor]:
    """The tensors of rank 0, whatever their dtypes (collective)."""
    if ranks.size == 1:
        return values
    host = ranks.broadcast_object({name: value.cpu().numpy() for name, value in values.items()})
    return {name: torch.as_tensor(host[name]).to(value.device) for name, value in values.items()}
