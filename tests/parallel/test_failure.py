from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from landscape.errors import ComputeError, InputError
from landscape.parallel.failure import exit_code
from tests.mpi_jobs import run_ranks

pytestmark = [pytest.mark.mpi, pytest.mark.xdist_group("mpi")]

JOB = str(Path(__file__).with_name("failing_job.py"))
PLAIN, MODULE = [], ["-m", "mpi4py"]
# ranks, interpreter options, what happens, to which rank, exit code, what must be printed once
FAILURES = [
    (2, PLAIN, "raise", 1, 1, "RuntimeError: boom"),
    (2, PLAIN, "sys.exit(7)", 1, 7, "rank 1 left the job while rank 0 waited in spectral_density"),
    (
        3,
        PLAIN,
        "skip a call",
        2,
        1,
        "ranks 0, 1 came to spectral_density (collective call 2); rank 2 came to eigenpairs",
    ),
    (2, MODULE, "raise in thread", 1, 1, "RuntimeError: boom"),
]
MORE_FAILURES = [
    (3, MODULE, "raise everywhere", 0, 1, "RuntimeError: boom"),
    (2, PLAIN, "raise InputError", 1, 2, "InputError: boom"),
    (2, MODULE, "raise SystemExit(7)", 0, 7, "rank 0 left the job while rank 1 waited in spectral_density"),
    (2, PLAIN, "sys.exit(0)", 1, 1, "rank 1 left the job while rank 0 waited in spectral_density"),
    (2, PLAIN, "skip within a call", 1, 1, "rank 0 waited in barrier of spectral_density; rank 1 waited in eigenpairs"),
    (2, MODULE, "raise", 0, 1, "RuntimeError: boom"),
    (3, PLAIN, "raise while busy", 2, 1, "RuntimeError: boom"),
    (2, PLAIN, "raise everywhere", 0, 1, "RuntimeError: boom"),
    (4, PLAIN, "raise InputError", 0, 2, "InputError: boom"),
    (3, MODULE, "sys.exit(7)", 0, 7, "rank 0 left the job while ranks 1, 2 waited in spectral_density"),
    (2, PLAIN, "raise SystemExit(7)", 1, 7, "rank 1 left the job while rank 0 waited in spectral_density"),
    (
        3,
        MODULE,
        "skip within a call",
        0,
        1,
        "ranks 1, 2 waited in barrier of spectral_density; rank 0 waited in eigenpairs",
    ),
]
ENDINGS = [
    (2, PLAIN, "alone at the end", 0, 0, "drawn"),
]
MORE_ENDINGS = [
    (3, PLAIN, "sys.exit(3) everywhere", 0, 3, "written"),
    (2, MODULE, "sys.exit(3) everywhere", 0, 3, "written"),
    (2, PLAIN, "alone at the end", 1, 0, "drawn"),
]
LATE = [
    (3, PLAIN, "late", 1, 0, "waiting for rank 1 in spectral_density"),
    (3, PLAIN, "late", 0, 0, "rank 0 has not come"),
]


def name(case):
    ranks, options, what, rank, *_ = case
    return " ".join([*options, what, f"on {rank} of {ranks}"])


@pytest.fixture(scope="module")
def jobs(request):
    """All jobs, a few at a time: they mostly wait."""
    cases = FAILURES + ENDINGS
    if request.config.getoption("--slow"):
        cases += MORE_FAILURES + MORE_ENDINGS + LATE
    with ThreadPoolExecutor(3) as pool:
        yield {
            name(case): pool.submit(run_ranks, case[0], [*case[1], JOB, case[2], str(case[3])], 60) for case in cases
        }


def params(quick, more):
    slow = [pytest.param(case, marks=pytest.mark.slow, id=name(case)) for case in more]
    return [*(pytest.param(case, id=name(case)) for case in quick), *slow]


@pytest.mark.parametrize("case", params(FAILURES, MORE_FAILURES))
def test_a_rank_that_fails_ends_the_job_within_ten_seconds(jobs, case):
    *_, code, message = case
    job = jobs[name(case)].result()
    assert job.returncode == code, job.stderr
    assert job.stderr.count(message) == 1, job.stderr
    assert "not reached" not in job.stdout
    began = max(float(moment) for moment in re.findall(r"failing at ([0-9.]+)", job.stdout))
    assert job.ended - began < 10


@pytest.mark.parametrize("case", params(ENDINGS, MORE_ENDINGS))
def test_a_rank_that_works_on_alone_is_left_in_peace(jobs, case):
    *_, code, message = case
    job = jobs[name(case)].result()
    assert job.returncode == code, job.stderr
    assert job.stdout.count(message) == 1
    assert job.stderr == ""


@pytest.mark.parametrize("case", params([], LATE))
def test_a_rank_that_takes_its_time_is_mentioned_but_not_ended(jobs, case):
    *_, code, message = case
    job = jobs[name(case)].result()
    assert job.returncode == code, job.stderr
    assert message in job.stderr
    assert "ending" not in job.stderr


def test_a_rank_that_fails_before_mpi_has_started_ends_the_job():
    code = """
import os
from landscape.parallel import ProcessGrid
if os.environ["PMI_RANK"] == "1":
    raise RuntimeError("boom")
ProcessGrid.world()
"""
    job = run_ranks(3, ["-c", code], timeout=60)
    assert job.returncode != 0
    assert job.stderr.count("RuntimeError: boom") == 1
    assert job.stderr.count("a process of this job has ended before starting MPI") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (ComputeError("x"), 1),
        (ValueError("x"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(), 0),
        (SystemExit(5), 5),
        (SystemExit("text"), 1),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error) == code
