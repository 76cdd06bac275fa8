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
    values = torch.empty(rows.rows, dtype=dtype)
    for block, part in enumerate(rows.split(values), rows.first_block):
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, block, probe]))
        part.copy_(torch.from_numpy(generator.standard_normal(len(part))))
    return values.to(device)
