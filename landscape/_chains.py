"""Tasks in fixed chains, inside which one hands something on to the next; chains are shared over the ranks, durably."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from landscape.parallel import ProcessGrid
from landscape.parallel.tasks import share_tasks
from landscape.store import RunState

Progress = Callable[[int, int, str], None]
# A record's arrays, and its numbers and texts: what a rank sends and a state keeps.
Parts = tuple[dict[str, NDArray[Any]], dict[str, Any]]
Item = TypeVar("Item")


def in_chains(
    chains: Sequence[Sequence[Item]],
    compute: Callable[[Item, Any], tuple[Parts, Any]],
    grid: ProcessGrid,
    state: RunState | None = None,
    progress: Progress | None = None,
    name: str = "chain",
) -> tuple[list[list[Parts]], int]:
    """What is found at every item of every chain, and how many of them were read from disk (collective).

    A chain is the work of one rank, and begins without anything from another one: so its results do not depend on the
    number of ranks. After every item the chain is on disk.

    Parameters
    ----------
    chains : sequence of sequences
        The same on every rank; those that take longest first, so that all ranks end at about the same time.
    compute : callable
        An item, and the array that the one before in the chain carried over (None at the head) → what was found, and
        the array that is carried over.
    grid : ProcessGrid
    state : RunState, optional
    progress : callable, optional
        ``progress(done, total, "")`` with the number of items, on rank 0.
    name : str
        Of the parts of the state.

    Returns
    -------
    found : list of list of Parts
        By chain; the same on every rank.
    resumed : int
    """
    total = sum(map(len, chains))
    found: dict[int, list[Parts]] = {}
    done, resumed = 0, 0

    def tell(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None and grid.rank == 0:
            progress(done, total, "")

    def work(task: int) -> tuple[int, int, list[Parts]]:
        part = None if state is None else state.child(f"{name}-{task:04d}")
        results, carried = ([], None) if part is None else _restored(part)
        earlier = len(results)
        tell(earlier)
        for item in chains[task][earlier:]:
            result, carried = compute(item, carried)
            results.append(result)
            if part is not None:
                _save(part, results, carried)
            tell(1)
        return grid.rank, earlier, results

    def finished(task: int, result: tuple[int, int, list[Parts]]) -> None:
        nonlocal resumed
        rank, earlier, found[task] = result
        resumed += earlier
        if rank != grid.rank:
            tell(len(found[task]))

    share_tasks(range(len(chains)), work, grid.world, finished)
    found, resumed = grid.world.broadcast_object((found, resumed))
    return [found[task] for task in sorted(found)], resumed


def _save(part: RunState, results: Sequence[Parts], carried: Any) -> None:
    """All results of a chain so far, and what goes on from the last one, in one file that is replaced."""
    arrays = {f"{row}/{name}": array for row, (found, _) in enumerate(results) for name, array in found.items()}
    if carried is not None:
        arrays["carried"] = carried
    products = sum(facts.get("products", 0) for _, facts in results)
    part.replace(arrays, {"steps": products, "facts": [facts for _, facts in results]})


def _restored(part: RunState) -> tuple[list[Parts], Any]:
    """What :func:`_save` kept; nothing if there is nothing."""
    for arrays, attributes in part.segments():
        results: list[Parts] = [({}, facts) for facts in attributes["facts"]]
        for name, array in arrays.items():
            row, slash, field = name.partition("/")
            if slash:
                results[int(row)][0][field] = array
        return results, arrays.get("carried")
    return [], None
