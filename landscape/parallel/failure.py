"""What happens when a rank fails: it ends all of them, soon, with its own exit code, and one message is printed.

Covered, on the main thread and on others, under plain ``python`` and ``python -m mpi4py``: an exception that nobody
catches ends the job at once. A rank that just leaves (sys.exit, SystemExit, end of the script) stays to the end of the
others; if they wait for it, the job is ended, with the exit code that the rank was about to return.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from landscape.errors import LandscapeError

if TYPE_CHECKING:
    from landscape.parallel.watch import Watch

_watch: Watch | None = None
_process = 0
_at_end: list[Callable[[], Any]] = []


def install(watch: Watch, finalize: bool) -> None:
    """Watch over the end of this process.

    Parameters
    ----------
    watch : Watch
        The connection to the other ranks.
    finalize : bool
        Whether MPI was started by us, so that we have to finalize it.
    """
    global _watch, _process
    _watch, _process = watch, os.getpid()
    previous, previous_in_thread = sys.excepthook, threading.excepthook

    def on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if _is_mine(watch):
            _end(watch, error, lambda: previous(kind, error, trace))
        else:
            previous(kind, error, trace)

    def on_thread_error(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is not None and not isinstance(error, SystemExit) and _is_mine(watch):
            _end(watch, error, lambda: previous_in_thread(arguments))
        else:
            previous_in_thread(arguments)

    sys.excepthook = on_error
    threading.excepthook = on_thread_error
    atexit.register(_leave, watch, finalize)


def end_all_ranks(error: BaseException, message: str) -> None:
    """End the job because of `error`, printing `message` once; returns if this is the only rank.

    For a command line that turns exceptions into messages itself.
    """
    if _watch is not None and _is_mine(_watch):
        _end(_watch, error, lambda: print(message, file=sys.stderr, flush=True))


def at_end(action: Callable[[], Any]) -> None:
    """Do something when all ranks have come to their ends, so that none can wait for this one any more."""
    _at_end.append(action)


def exit_code(error: BaseException) -> int:
    """Return with what the process ends: 2 for InputError, 130 for an interrupt, the code of SystemExit, 1 for others.

    Examples
    --------
    >>> from landscape.parallel.failure import exit_code
    >>> exit_code(SystemExit(3)), exit_code(ValueError("x"))
    (3, 1)
    """
    if isinstance(error, LandscapeError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        return error.code if isinstance(error.code, int) else 1
    return 1


def _end(watch: Watch, error: BaseException, show: Callable[[], Any]) -> NoReturn:
    if watch.claim_message():
        try:
            print(f"landscape: rank {watch.rank} of {watch.size} failed, ending all ranks", file=sys.stderr, flush=True)
            show()
        finally:
            watch.abort(exit_code(error) or 1)
    time.sleep(5.0)  # the rank that prints ends the job
    watch.abort(exit_code(error) or 1)


def _leave(watch: Watch, finalize: bool) -> None:
    from mpi4py import MPI

    if not _is_mine(watch):
        return
    watch.leave()
    if not watch.doomed:
        for action in reversed(_at_end):
            with suppress(Exception):  # nothing that fails now may keep MPI from being finalized
                action()
        if finalize:
            MPI.Finalize()
        return
    # Somebody waits for this rank in vain. Its exit code is known to nobody but the interpreter: let a copy of the
    # process end in its place, and look. Where MPI is finalized by somebody else, the copy would do that, too.
    if finalize and hasattr(os, "fork"):
        code = _code_of_this_exit()
        if code is None:
            # Under -m mpi4py this copy would otherwise end the job itself, over connections that are not its own.
            getattr(MPI, "_set_abort_status", int)(0)
            return
        watch.report_code(code)
    if watch.rank == 0:
        watch.end_deadlock()
    if finalize:
        time.sleep(10.0)  # rank 0 ends the job
        watch.abort(1)


def _code_of_this_exit() -> int | None:
    """Return the code with which the interpreter is about to exit, 1 if that takes too long; None in the copy."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads, which the copy does not need
        copy = os.fork()
    if copy == 0:
        gc.freeze()  # nothing to collect: the copy ends twice as fast
        return None
    for _ in range(300):
        done, status = os.waitpid(copy, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 1
        time.sleep(0.01)
    os.kill(copy, signal.SIGKILL)
    os.waitpid(copy, 0)
    return 1


def _is_mine(watch: Watch) -> bool:
    """Whether this is the process that started MPI, not one forked from it, and MPI is still there."""
    from mpi4py import MPI

    return os.getpid() == _process and not MPI.Is_finalized()
