"""Sharing independent tasks: whoever is free gets the next one, and has it before it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from landscape.parallel.collectives import Collectives

RESERVE = 2
"""A rank holds up to so many tasks beyond the one that it works on: rank 0, which deals them, looks at its messages
between two tasks of its own only, and a rank that asks should not wait for that."""

Result = TypeVar("Result")


def share_tasks(
    tasks: Iterable[int],
    work: Callable[[int], Result],
    ranks: Collectives,
    finished: Callable[[int, Result], None] | None = None,
) -> None:
    """Do tasks that do not depend on each other, each on one rank (collective).

    Rank 0 deals and works, too. Near the end nobody holds more than the task that it works on, so that all end at about
    the same time. Which rank does which task depends on their speed: a result must not.

    Parameters
    ----------
    tasks : iterable of int
        The same on every rank.
    work : callable
        ``work(task)`` → a small picklable result.
    ranks : Collectives
        Who shares.
    finished : callable, optional
        ``finished(task, result)``, called on rank 0 in the order in which results arrive.

    Examples
    --------
    >>> from landscape.parallel import Serial
    >>> squares = {}
    >>> share_tasks(range(3), lambda task: task**2, Serial(), squares.__setitem__)
    >>> squares
    {0: 0, 1: 1, 2: 4}
    """
    todo = deque(tasks)
    if ranks.rank == 0:
        _deal(todo, work, ranks, finished)
    else:
        _follow(todo, work, ranks)
    ranks.barrier()
    ranks.finish_sending()


def first_hands(tasks: deque[int], size: int) -> list[list[int]]:
    """Take the tasks with which every rank begins from the queue, without a message; rank 0 holds none in reserve."""
    hands: list[list[int]] = [[] for _ in range(size)]
    for _ in range(most_held(len(tasks), size)):
        for hand in hands[1:]:
            if tasks:
                hand.append(tasks.popleft())
    return hands


def most_held(remaining: int, size: int) -> int:
    """How many tasks a rank may hold while so many are not dealt."""
    return 1 + min(RESERVE, remaining // (2 * size))


def _deal(
    todo: deque[int],
    work: Callable[[int], Result],
    ranks: Collectives,
    finished: Callable[[int, Result], None] | None,
) -> None:
    def report(task: int, result: Result) -> None:
        if finished is not None:
            finished(task, result)

    held = [len(hand) for hand in first_hands(todo, ranks.size)]
    for rank in range(1, ranks.size):
        _refill(rank, todo, held, ranks)
    while todo or any(held):
        holders = [rank for rank, number in enumerate(held) if number]
        while holders and (message := ranks.receive_object(holders, wait=not todo)) is not None:
            rank, (task, result) = message
            held[rank] -= 1
            _refill(rank, todo, held, ranks)
            report(task, result)
            holders = [rank for rank, number in enumerate(held) if number]
        if todo:
            task = todo.popleft()
            report(task, work(task))


def _refill(rank: int, todo: deque[int], held: list[int], ranks: Collectives) -> None:
    """Give a rank what it may hold; an empty hand tells it to stop."""
    hand = [todo.popleft() for _ in range(min(len(todo), most_held(len(todo), ranks.size) - held[rank]))]
    held[rank] += len(hand)
    if hand or not held[rank]:
        ranks.send_object(hand, rank)


def _follow(todo: deque[int], work: Callable[[int], Result], ranks: Collectives) -> None:
    mine = deque(first_hands(todo, ranks.size)[ranks.rank])
    while True:
        message = ranks.receive_object([0], wait=not mine)
        if message is not None:
            _, hand = message
            if not hand:
                return
            mine.extend(hand)
            continue
        task = mine.popleft()
        ranks.send_object((task, work(task)), 0)
