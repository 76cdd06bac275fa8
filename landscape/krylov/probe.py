"""Random start vectors from a counter-based stream: the same numbers whoever generates which rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.parallel.rows import RowPartition


def gaussian(rows: RowPartition, seed: int, probe: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row shard of a standard normal vector.

    Each row block has its own stream of the Philox generator (Salmon, Moraes, Dror, Shaw, SC 2011), with the seed as
    key and (probe, block) in the counter, so the vector depends on neither the number of ranks nor the order of probes.

    Parameters
    ----------
    seed, probe : int
        Non-negative; which experiment, which vector of it.

    Returns
    -------
    (rows,) tensor
    """
    parts = []
    remaining = rows.rows
    for block in range(rows.first_block, rows.first_block + rows.block_counts[rows.collectives.rank]):
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, block, probe]))
        length = min(rows.block, remaining)
        parts.append(generator.standard_normal(length))
        remaining -= length
    values = np.concatenate(parts) if parts else np.zeros(0)
    return torch.from_numpy(values).to(dtype=dtype, device=device)
