"""Waiting for other ranks: by polling, so that a rank that will never come is noticed and named.

Every collective of this package starts with a request that completes only when all ranks of its group have come, and
`Watch.wait` polls it. A rank that has waited for a while tells rank 0, the hub; so does every rank that has reached
its end. Whenever the hub itself waits or has reached its end, it looks at these reports. The job is ended if ranks
wait for one that has left, or if all ranks wait, but in different calls: neither can resolve itself. A rank that merely
takes its time, such as one that still draws a figure, is at most mentioned on stderr.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

SPIN_SECONDS = 1e-4
"""Test without pause so long: what the fastest collectives take."""
YIELD_SECONDS = 2e-3
"""Then offer the core to others between tests until here, then sleep."""
LONGEST_NAP = 1e-3
"""A nap is a twentieth of what was waited, up to this."""
LOOK_SECONDS = 0.02
"""How often reports are read and sent while waiting."""
REPORT_SECONDS = 3.0
"""After so long a wait, the hub is told."""
CONFIRM_LOOKS = 75
"""How many looks in a row must show a deadlock before it is believed: counted in looks, not seconds, since a job
that was suspended wakes up rank by rank."""
REMIND_SECONDS = 30.0
"""How often a missing rank is mentioned."""
CODE_SECONDS = 3.5
"""How long the hub waits for the exit code of a rank that has left."""


@dataclass(frozen=True)
class Wait:
    """What a rank waits in: a call, and the ranks of the whole job that must come to it."""

    call: str
    members: tuple[int, ...]


class Watch:
    """Waits for requests on behalf of this rank and exchanges reports over a communicator of its own.

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm
        All ranks of the job; used by nothing else.
    crowded : bool
        Whether ranks share cores: then never test without pause.
    """

    def __init__(self, communicator: Any, crowded: bool = False) -> None:
        self.communicator = communicator
        self.rank = int(communicator.Get_rank())
        self.size = int(communicator.Get_size())
        self.call = ""
        self._spin = 0.0 if crowded else SPIN_SECONDS
        self._sending: list[Any] = []
        self._last_look = 0.0
        # What the hub knows.
        self._waiting: dict[int, Wait] = {}
        self._since: dict[int, float] = {}
        self._left: set[int] = set()
        self._codes: dict[int, int] = {}
        self._deadlock = ""
        self._looks = 0
        self._reminded = 0.0
        # What the others know.
        self._heard = True
        self._released = False
        self._another_prints = False
        self.doomed = False

    def wait(self, request: Any, call: str, members: tuple[int, ...]) -> None:
        """Return when `request`, which completes once all `members` have made the same `call`, is complete."""
        if request.Test():
            return
        start = time.perf_counter()
        reported = False
        while not request.Test():
            waited = time.perf_counter() - start
            if waited < self._spin:
                continue
            if waited < YIELD_SECONDS:
                os.sched_yield()
                continue
            time.sleep(min(waited / 20, LONGEST_NAP))
            if waited < REPORT_SECONDS:
                self._look()
                continue
            if not reported:
                reported = True
                self._report(("waits", Wait(f"{call} of {self.call}" if self.call else call, members)))
                self._heard = self.rank == 0
                last_reminder = waited
            self._look()
            if waited - last_reminder > REMIND_SECONDS:
                last_reminder = waited
                if not self._heard and self.rank == min(set(members) - {0}):
                    _say(f"rank 0 has not come to {call} of {self.call} for {waited:.0f} s; the others wait for it")
        if reported:
            self._report(("goes on",))

    def leave(self) -> None:
        """Return when every rank has reached its end, or the job is `doomed`; called when this rank has."""
        self._report(("left",))
        start = time.perf_counter()
        while not (self.doomed or self._released):
            self._look()
            if self.rank == 0 and len(self._left) == self.size:
                self._tell_all(("released",))
                break
            time.sleep(min((time.perf_counter() - start) / 20 + 1e-5, 5e-3))
        self._finish_sending()

    def report_code(self, code: int) -> None:
        """Tell the hub the exit code with which this rank, which has left, would have ended."""
        self._report(("code", code))
        self._finish_sending()

    def end_deadlock(self) -> NoReturn:
        """On the hub, after `doomed`: end the job with the exit code of a rank that has left, or 1."""
        start = time.perf_counter()
        while len(self._codes) < len(self._left) and time.perf_counter() - start < CODE_SECONDS:
            self._read()
            time.sleep(1e-2)
        self.abort(next((code for _, code in sorted(self._codes.items()) if code != 0), 1))

    def claim_message(self) -> bool:
        """Whether this failing rank is the one to print: rank 0 at once, the others after it had time to come first."""
        patience = min(0.4 * self.rank, 3.0) + 2.0 * self.rank / self.size
        start = time.perf_counter()
        while True:
            self._read()
            if self.doomed or self._another_prints:
                return False
            if time.perf_counter() - start >= patience:
                break
            time.sleep(5e-3)
        self._tell_all(("prints",))
        return True

    def abort(self, code: int) -> NoReturn:
        """End all ranks."""
        from mpi4py import MPI

        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(0.1)  # the launcher may drop what is still in its pipes
        end: Callable[[int], object] = MPI.COMM_WORLD.Abort
        end(code)
        time.sleep(5.0)  # MPICH sometimes returns from Abort, before its launcher ends this process
        os._exit(code)

    def _look(self) -> None:
        """Read reports, and on the hub draw the conclusions, at most every LOOK_SECONDS."""
        now = time.perf_counter()
        if now - self._last_look < LOOK_SECONDS:
            return
        self._last_look = now
        self._read()
        if self.rank == 0:
            self._judge(now)
        elif self.doomed and self.rank not in self._left:
            time.sleep(10.0)  # the rank that said so ends the job
            self.abort(1)

    def _judge(self, now: float) -> None:
        found = self._find_deadlock()
        self._looks = self._looks + 1 if found and found == self._deadlock else 0
        self._deadlock = found
        if self._looks >= CONFIRM_LOOKS:
            _say(f"{found}. Every rank must make the same collective calls in the same order; ending all ranks")
            self._tell_all(("doomed",))
            self.doomed = True
            if 0 not in self._left:
                self.end_deadlock()
        elif self._since and now - max(min(self._since.values()), self._reminded) > REMIND_SECONDS:
            self._reminded = now
            self._remind(now)

    def _find_deadlock(self) -> str:
        """Describe why the waiting ranks can never go on; empty if they can."""
        for wait in self._waiting.values():
            gone = self._left.intersection(wait.members)
            if gone:
                waiting = [rank for rank, other in self._waiting.items() if other == wait]
                return f"{name_ranks(gone)} left the job while {name_ranks(waiting)} waited in {wait.call}"
        if len(self._waiting) + len(self._left) == self.size and len(set(self._waiting.values())) > 1:
            calls = sorted({(wait.call, wait.members) for wait in self._waiting.values()})
            parts = [(call, [r for r, w in self._waiting.items() if w == Wait(call, who)]) for call, who in calls]
            return "; ".join(f"{name_ranks(who)} waited in {call}" for call, who in parts)
        return ""

    def _remind(self, now: float) -> None:
        oldest = min(self._since, key=lambda rank: self._since[rank])
        wait = self._waiting[oldest]
        missing = [rank for rank in wait.members if self._waiting.get(rank) != wait]
        if missing:
            waited = now - self._since[oldest] + REPORT_SECONDS
            _say(f"waiting for {name_ranks(missing)} in {wait.call} for {waited:.0f} s")

    def _report(self, message: tuple[Any, ...]) -> None:
        """Tell the hub."""
        if self.rank == 0:
            self._hear(0, message)
        else:
            self._send(message, 0)
        if message[0] == "left":
            self._left.add(self.rank)

    def _tell_all(self, message: tuple[Any, ...]) -> None:
        for rank in range(self.size):
            if rank != self.rank:
                self._send(message, rank)

    def _send(self, message: tuple[Any, ...], rank: int) -> None:
        self._sending = [request for request in self._sending if not request.Test()]
        self._sending.append(self.communicator.isend(message, dest=rank))

    def _finish_sending(self) -> None:
        for request in self._sending:
            request.wait()
        self._sending = []

    def _read(self) -> None:
        from mpi4py import MPI

        status = MPI.Status()
        while (message := self.communicator.improbe(status=status)) is not None:
            self._hear(status.Get_source(), message.recv())

    def _hear(self, rank: int, message: tuple[Any, ...]) -> None:
        match message:
            case ("waits", Wait() as wait):
                self._waiting[rank] = wait
                self._since[rank] = time.perf_counter()
                if rank != 0:
                    self._send(("heard",), rank)
            case ("goes on",):
                self._waiting.pop(rank, None)
                self._since.pop(rank, None)
            case ("left",):
                self._left.add(rank)
            case ("code", int() as code):
                self._codes[rank] = code
            case ("heard",):
                self._heard = True
            case ("released",):
                self._released = True
            case ("doomed",):
                self.doomed = True
            case ("prints",):
                self._another_prints = True


def name_ranks(ranks: Iterable[int]) -> str:
    """Name ranks, a long list by its ends.

    >>> from landscape.parallel.watch import name_ranks
    >>> name_ranks([1, 0])
    'ranks 0, 1'
    """
    ordered: Sequence[int] = sorted(ranks)
    if len(ordered) == 1:
        return f"rank {ordered[0]}"
    shown = [str(rank) for rank in ordered]
    if len(shown) > 12:
        shown = [*shown[:8], "…", *shown[-2:]]
    return f"ranks {', '.join(shown)}" + (f" ({len(ordered)} of them)" if len(ordered) > 12 else "")


def _say(text: str) -> None:
    print(f"landscape: {text}", file=sys.stderr, flush=True)
