"""Starting MPI, which waits for all processes of the job, although one may have failed before.

MPICH's launcher does not end a job whose process fails before it has started MPI: the others would wait in MPI_Init for
ever, and since mpi4py holds the interpreter there, no thread could notice. Open MPI and srun end such jobs themselves.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 2.0
"""How long a process may be missing: the launcher starts them one after the other."""


@contextmanager
def siblings_watched(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """While MPI starts, end this process if another one of the same launcher on this computer has ended already.

    A forked copy of this process looks at the launcher's children; it does so only where these can be counted (MPICH or
    Intel MPI on Linux), otherwise nothing is watched.
    """
    launcher = os.getppid()
    expected = environment.get("MPI_LOCALNRANKS", "")
    place = environment.get("MPI_LOCALRANKID", "")
    if not (expected.isdigit() and place.isdigit() and _living_children(launcher) is not None):
        yield
        return
    watched = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads, which the copy does not need
        copy = os.fork()
    if copy == 0:
        try:
            _watch(watched, launcher, int(expected), int(place))
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(copy, signal.SIGKILL)
        os.waitpid(copy, 0)


def _watch(watched: int, launcher: int, expected: int, place: int) -> None:
    """End the process `watched` once fewer than `expected` children of `launcher` have lived for a while."""
    missing_since: float | None = None
    while os.getppid() == watched:
        living = _living_children(launcher)
        if living is None or living >= expected:
            missing_since = None
        elif missing_since is None:
            missing_since = time.monotonic()
        # One after the other: the launcher ends all when the first one is ended, so that one message is printed.
        elif time.monotonic() - missing_since > PATIENCE_SECONDS + min(0.4 * place, 4.0):
            missing = expected - living
            processes = "a process of this job has" if missing == 1 else f"{missing} processes of this job have"
            print(f"landscape: {processes} ended before starting MPI; ending the others", file=sys.stderr, flush=True)
            os.kill(watched, signal.SIGTERM)
            return
        time.sleep(0.1)


def _living_children(process: int) -> int | None:
    """Return how many children of a process run, None where that cannot be found out."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return None
    return sum(_is_alive(child) for child in children)


def _is_alive(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
