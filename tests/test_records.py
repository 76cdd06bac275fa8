"""The arithmetic of a spectral density on measures small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from landscape.errors import InputError
from landscape.records import SpectralDensity, weighted_median


def density(**changes: object) -> SpectralDensity:
    fields: dict[str, object] = {
        "nodes": np.array([-1.0, 0.0, 0.001, 4.0]),
        "weights": np.array([0.1, 0.5, 0.3, 0.1]),
        "resolved": np.array([True, False, False, True]),
        "residuals": np.zeros(4),
        "n": 10,
        "noise_floor": 1e-5,
    }
    return SpectralDensity(**(fields | changes))  # type: ignore[arg-type]


def test_pdf_is_a_sum_of_gaussians_with_mass_one() -> None:
    record = density()
    x = np.linspace(-3, 6, 20001)
    expected = sum(w * norm.pdf(x, c, 0.05) for c, w in zip(record.nodes, record.weights, strict=True))
    assert np.allclose(record.pdf(x, 0.05), expected, rtol=1e-12, atol=1e-300)
    assert np.trapezoid(record.pdf(x), x) == pytest.approx(1, abs=1e-9)
    assert record.default_sigma == pytest.approx(0.04)


def test_cdf_and_masses() -> None:
    record = density()
    assert record.cdf([-2, -1, -0.5, 0, 3.9, 4]) == pytest.approx([0, 0.1, 0.1, 0.6, 0.9, 1])
    assert record.mass_below(0.0) == pytest.approx(0.1)
    assert record.zero_threshold == pytest.approx(4e-4)
    assert record.near_zero_mass == pytest.approx(0.5)
    assert record.negative_mass == pytest.approx(0.1)
    assert (record.lambda_min, record.lambda_max) == (-1.0, 4.0)
    assert record.eigenvalues.tolist() == [-1.0, 4.0]


def test_resolved_eigenvalues_have_no_error_bar() -> None:
    record = density(noise_floor=0.0)
    low, high = record.cdf_band(np.array([-2.0, -0.5, 3.0, 5.0]))
    assert np.allclose([low, high], record.cdf([-2.0, -0.5, 3.0, 5.0]), atol=1e-15)
    whole = SpectralDensity(np.arange(5.0), np.full(5, 0.2), 5, resolved=np.ones(5, bool), residuals=np.zeros(5))
    x = np.linspace(-1, 6, 100)
    assert np.allclose(whole.cdf_band(x), whole.cdf(x)) and np.allclose(whole.pdf_band(x), whole.pdf(x))
    assert whole.predicted_error() == 0
    assert SpectralDensity(
        np.arange(5.0), np.full(5, 0.2), 5, resolved=np.ones(5, bool), noise_floor=0.12
    ).predicted_error() == pytest.approx(0.1)


def test_bands_contain_the_estimate_grow_with_the_level_and_shrink_with_n() -> None:
    x = np.linspace(-2, 5, 400)
    for band, value in (("pdf_band", "pdf"), ("cdf_band", "cdf")):
        widths = []
        for n, level in ((10**6, 0.95), (10, 0.5), (10, 0.95), (10, 0.999)):
            record = density(n=n, resolved=np.zeros(4, bool))
            low, high = getattr(record, band)(x, level=level)
            assert (low <= getattr(record, value)(x)).all() and (getattr(record, value)(x) <= high).all()
            widths.append((high - low).mean())
        assert widths == sorted(widths)


def test_the_share_of_a_heavy_node_near_an_end_is_uncertain() -> None:
    record = density(n=10**6, resolved=np.zeros(4, bool), noise_floor=0.0)
    least, most = record.mass_band(-np.inf, 1e-6)  # just above a node with half of the mass
    assert least == pytest.approx(0.1, abs=0.01) and most == pytest.approx(0.6, abs=0.01)
    assert record.mass_band(-np.inf, np.inf) == (1.0, 1.0)
    least, most = record.mass_band(-record.zero_threshold, record.zero_threshold)
    assert least < record.near_zero_mass < most


def test_impossible_widths_and_levels_are_refused() -> None:
    with pytest.raises(InputError, match="sigma must be a positive width"):
        density().pdf([0.0], sigma=-0.1)
    with pytest.raises(InputError, match="level must lie between 0 and 1"):
        density().cdf_band([0.0], level=95)


def test_weighted_median() -> None:
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([0.4, 0.3, 0.3])) == 2.0
    assert weighted_median(np.array([7.0]), np.array([1.0])) == 7.0


def test_a_single_node_knows_everything_or_nothing() -> None:
    record = SpectralDensity(np.array([2.0]), np.array([1.0]), 100, residuals=np.zeros(1))
    assert record.predicted_error() == 0 and record.spread == 0
    assert SpectralDensity(np.array([2.0]), np.array([1.0]), 100, residuals=np.array([0.5])).predicted_error() == 1
    assert np.isfinite(record.pdf([2.0])).all() and record.cdf_band([1.0, 3.0])[0].tolist() == [0.0, 1.0]
