"""The cost model: limits that can be counted by hand, and what the command line says of them."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from pathlib import Path

import pytest

import landscape as ls
from landscape import zoo
from landscape.cli import run
from landscape.cost import SMALL_COLLECTIVES, Machine, breaking_point, measure, plan, step_seconds, traffic
from landscape.krylov import MODES, needs

MACHINE = Machine(
    n=10**6, batches=64, itemsize=4, product_seconds=1.0, product_bytes=1e8, resident_bytes=3e8, sweep_bandwidth=1e10
)


def test_work_that_divides_evenly_scales_until_a_rank_has_none() -> None:
    free = replace(MACHINE, latency=0.0, bandwidth=float("inf"), sweep_bandwidth=float("inf"))
    assert all(plan(free, ranks, 100).efficiency == pytest.approx(1) for ranks in (1, 2, 16, 64))
    assert plan(free, 128, 100).efficiency == pytest.approx(0.5)
    assert plan(free, 48, 100).efficiency == pytest.approx(64 / 2 / 48)
    assert "do not divide evenly by 48 ranks" in plan(free, 48, 100).limits[0]
    found = breaking_point([plan(free, ranks, 100) for ranks in (1, 64, 128)])
    assert found is not None and found.ranks == 128


def test_a_step_is_product_exchange_and_orthogonalization() -> None:
    product, exchange, sweep = step_seconds(MACHINE, 8, 100, "full")
    assert product == 1 / 8
    assert traffic(MACHINE, 8) == 12 * 10**6 * 7 / 8
    expected = SMALL_COLLECTIVES * MACHINE.latency * log2(8) + traffic(MACHINE, 8) / MACHINE.bandwidth
    assert exchange == pytest.approx(expected)
    # Two passes that read the basis, on average half full, twice each.
    assert sweep == pytest.approx(4 * 50 * 10**6 / 8 * 4 / 1e10, rel=0.05)
    assert step_seconds(MACHINE, 8, 100, "minimal")[2] == 0
    assert step_seconds(MACHINE, 8, 100, "bfloat16")[2] == pytest.approx(sweep / 2)


@pytest.mark.parametrize(
    ("change", "limit"),
    [({"latency": 1e-2}, "latency: "), ({"bandwidth": 1e7}, "bandwidth: ")],
)
def test_slow_networks_are_named(change: dict[str, float], limit: str) -> None:
    found = plan(replace(MACHINE, **change), 16, 100)
    assert found.limits[0].startswith(limit) and found.limits[0].endswith("% exchange") and found.efficiency < 0.8


def test_probes_exchange_nothing() -> None:
    found = plan(replace(MACHINE, bandwidth=1.0), 10, 80, probes=10)
    assert found.shards == 1 and found.efficiency == pytest.approx(1) and found.traffic_bytes == 0


def test_the_memory_that_there_is_decides_how_the_basis_is_kept() -> None:
    fixed, shards = 4e8, 4
    full, half, least = (needs(MODES[name], 10**6, 200, shards).device for name in ("full", "float16", "minimal"))
    for extra, name in ((full, "full"), (full - 1, "float16"), (half - 1, "minimal")):
        found = plan(replace(MACHINE, available_bytes=fixed + extra), shards, 200)
        assert found.memory == name and found.total_bytes <= fixed + extra
    found = plan(replace(MACHINE, available_bytes=fixed + least - 1), shards, 200)
    assert any("does not fit" in limit and "even so" in limit for limit in found.limits)
    assert breaking_point([found]) is found


def test_a_measurement_leaves_the_operator_as_it_was() -> None:
    operator = ls.Hessian(zoo.build("digits-mlp", epochs=1, samples=60))
    machine = measure(operator)
    assert operator.products == 0 and machine.n == operator.n and machine.batches == operator.objective.batches
    assert machine.product_seconds > 0 and machine.sweep_bandwidth > 0 and not machine.measured


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["spectrum", "--objective", "zoo:digits-mlp", "--set", "epochs=1", "--samples", "60", "--dry-run"]
    assert run([*arguments, "--micro-batch", "15"]) == 0
    said = capsys.readouterr().out
    assert "dry run: at most 200 products" in said and "4 micro-batches; nothing is computed" in said
    assert "4 micro-batches: at most 4 of 8 ranks compute" in said and "assumed" in said
    rows = [line.split() for line in said.splitlines() if line.strip().split(" ")[0].isdigit()]
    assert [int(row[0]) for row in rows] == [2**power for power in range(11)]
    assert not list(tmp_path.iterdir())


def test_the_command_takes_a_budget_and_names_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["spectrum", "--objective", "zoo:digits-mlp", "--set", "epochs=1", "--samples", "60", "--no-figure"]
    options = ["--max-products", "8", "--tol", "5"]
    assert run([*arguments, *options, "--memory", "minimal"]) in (0, 3)
    assert ls.load("spectrum.h5").memory == "minimal"
    assert run([*arguments, *options, "--memory-budget", "1 KiB", "-o", "other.h5"]) == 2
    assert "too small: memory" in capsys.readouterr().err
    assert run([*arguments, *options, "--memory", "tiny", "-o", "other.h5"]) == 2
