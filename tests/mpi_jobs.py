"""Run a script on several ranks, with a real mpiexec."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from landscape.parallel import mpiexec_command

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Job:
    """A job that has ended: as subprocess.CompletedProcess, and how long it took."""

    args: list[str]
    returncode: int
    stdout: str
    stderr: str
    seconds: float
    ended: float  # as time.time()

    def check(self) -> Job:
        """Return the job itself if it ended with 0; otherwise fail with everything that it printed."""
        if self.returncode != 0:
            raise AssertionError(f"{self.args} ended with {self.returncode}\n{self.stdout}\n{self.stderr}")
        return self


def run_ranks(
    ranks: int,
    script: str | Path | Sequence[str],
    timeout: float = 60.0,
    *,
    environment: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
) -> Job:
    """Run Python on `ranks` ranks and wait for its end; without mpiexec if `ranks` is 0.

    Parameters
    ----------
    ranks : int
    script : str, Path or sequence of str
        A script, or the arguments of the interpreter, such as ["-m", "landscape", "info", "x.h5"].
    timeout : float
        Seconds, after which all processes of the job are killed and AssertionError is raised.
    environment : mapping, optional
        Changes to the environment.
    folder : path, optional
        Where the job runs.
    """
    arguments = [str(script)] if isinstance(script, (str, Path)) else list(script)
    command = [*(mpiexec_command(ranks) if ranks else []), sys.executable, *arguments]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)} | dict(environment or {})
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        cwd=folder,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # First let the launcher take its ranks, which have process groups of their own, with it.
        process.terminate()
        try:
            stdout, stderr = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
        message = f"{command} did not end within {timeout} s\n{stdout}\n{stderr}"
        raise AssertionError(message) from None
    return Job(command, process.returncode, stdout, stderr, time.monotonic() - start, time.time())
