"""Waiting for other ranks by polling."""

from __future__ import annotations

import os
import time
from typing import Any

SPIN_SECONDS = 2e-3
NAP_SECONDS = 1e-4


class Watch:
    """Waits for MPI requests."""

    def wait(self, request: Any, what: str, members: tuple[int, ...]) -> None:
        """Return when `request` is complete."""
        if request.Test():
            return
        start = time.perf_counter()
        while not request.Test():
            if time.perf_counter() - start > SPIN_SECONDS:
                time.sleep(NAP_SECONDS)
            else:
                os.sched_yield()
