from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from landscape.errors import InputError
from landscape.parallel import Serial
from landscape.parallel.tasks import RESERVE, first_hands, most_held, share_tasks
from tests.mpi_jobs import run_ranks

JOB = str(Path(__file__).with_name("tasks_job.py"))


def test_one_rank_does_everything_in_order():
    done = []
    share_tasks([3, 1, 2], lambda task: -task, Serial(), lambda task, result: done.append((task, result)))
    assert done == [(3, -3), (1, -1), (2, -2)]


def test_one_rank_has_nobody_to_talk_to():
    alone = Serial()
    assert alone.receive_object([], wait=False) is None
    alone.finish_sending()
    with pytest.raises(InputError, match="wait for ever"):
        alone.receive_object([])
    with pytest.raises(InputError, match="with itself"):
        alone.send_object("x", 0)
    with pytest.raises(InputError, match="no rank 1"):
        alone.send_object("x", 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 2, 5, 20, 300])
def test_first_hands_are_the_same_for_all_and_leave_the_rest(size, total):
    tasks = deque(range(total))
    hands = first_hands(tasks, size)
    assert hands[0] == []
    assert sorted([task for hand in hands for task in hand] + list(tasks)) == list(range(total))
    assert max(map(len, hands)) - min(map(len, hands[1:]), default=0) <= 1 or size == 1
    assert all(len(hand) <= most_held(total, size) for hand in hands)


def test_reserves_shrink_to_nothing_at_the_end():
    assert [most_held(remaining, 2) for remaining in (100, 8, 7, 4, 3, 0)] == [1 + RESERVE, 1 + RESERVE, 2, 2, 1, 1]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *(pytest.param(more, marks=pytest.mark.slow) for more in (1, 2, 4))])
def test_messages_and_tasks(ranks):
    assert run_ranks(ranks, [JOB], timeout=60).check().stdout == "done\n"


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "how", "code", "message"),
    [
        (3, "fail", 1, "RuntimeError: boom"),
        (2, "leave", 7, "rank 1 left the job while rank 0 waited in receive_object of loss_surface"),
        pytest.param(
            3,
            "skip",
            1,
            "rank 1 waited in eigenpairs",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_rank_that_fails_leaves_or_skips_ends_the_job(ranks, how, code, message):
    job = run_ranks(ranks, [JOB, how], timeout=60)
    assert job.returncode == code, job.stderr
    assert job.stderr.count(message) == 1, job.stderr
    assert "not reached" not in job.stdout
    assert job.seconds < 20
