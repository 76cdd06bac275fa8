"""The map of densities along a run."""

from __future__ import annotations

import pytest

from landscape import render
from tests.render.report_cases import density_series


@pytest.mark.parametrize("chosen", [slice(None), slice(1)])
def test_the_map_ends_with_its_first_and_last_step(chosen):
    whole = density_series()
    kept = list(whole)[chosen]
    facts = {name: getattr(whole, name)[chosen] for name in ("loss", "losses", "learning_rates", "theta_sha256")}
    series = type(whole).of(kept, steps=whole.steps[chosen], run=whole.run, **facts)
    axes, beside = render.density_series(series).axes[:2]
    first, last = float(series.steps[0]), float(series.steps[-1])
    assert axes.get_ylim() == beside.get_ylim() == ((first, last) if last > first else (first - 0.5, first + 0.5))
