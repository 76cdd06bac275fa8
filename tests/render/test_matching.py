"""Results find their runs by the content of the runs, also where several have the same name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.records import DensitySeries
from landscape.render.film_schedule import sorted_densities, sorted_eigenvalues
from landscape.render.merging import merged, numbered
from tests.render.report_cases import density_series, eigen_series
from tests.render.surface_cases import surface

FIRST, SECOND, OTHER = "a" * 64, "b" * 64, "c" * 64


def along(series, digest):
    return replace(series, provenance={"configuration": {"run_sha256": digest}})


def of_run(digest, **changes):
    """A surface with one run, which is called SGD."""
    return replace(surface(runs=1), provenance={"configuration": {"runs": [digest]}}, **changes)


def two_runs():
    return merged([of_run(FIRST), of_run(SECOND)])


def test_equal_names_are_numbered_and_no_number_is_given_twice():
    assert numbered(["SGD", "Adam", "SGD", "SGD"]) == ["SGD", "Adam", "SGD (2)", "SGD (3)"]
    assert numbered(["SGD", "SGD", "SGD (2)"]) == ["SGD", "SGD (3)", "SGD (2)"]


def test_surfaces_that_become_one_still_know_their_runs():
    runs = two_runs().paths
    assert [(run.name, run.sha256) for run in runs] == [("SGD", FIRST), ("SGD (2)", SECOND)]
    assert [run.sha256 for run in merged([surface(runs=1), of_run(SECOND)]).paths] == ["", SECOND]


@pytest.mark.parametrize(("digest", "place"), [(FIRST, 0), (SECOND, 1)])
def test_films_find_the_run_by_its_content(digest, place):
    runs = two_runs().paths
    assert sorted_eigenvalues([along(eigen_series(), digest)], runs)[0].place == place
    moments = sorted_densities(along(density_series(), digest), runs)
    assert {(one.place, one.run) for one in moments} == {(place, ["SGD", "SGD (2)"][place])}


def test_films_refuse_another_run_of_the_same_name():
    runs = of_run(FIRST).paths
    with pytest.raises(InputError, match=rf"another run that is called SGD, too.*{OTHER[:12]}….*{FIRST[:12]}…"):
        sorted_eigenvalues([along(eigen_series(), OTHER)], runs)
    with pytest.raises(InputError, match=r"density of the run SGD at step 0.*another run.*as SGD:FILE"):
        sorted_densities(along(density_series(), OTHER), runs)


def test_without_the_content_the_name_counts():
    for runs, digest in ((of_run(FIRST).paths, ""), (surface(runs=1).paths, OTHER)):
        assert sorted_eigenvalues([along(eigen_series(), digest)], runs)[0].place == 0
        assert {one.place for one in sorted_densities(along(density_series(), digest), runs)} == {0}


def test_an_empty_series_of_densities_is_no_series():
    with pytest.raises(InputError, match="at least one"):
        DensitySeries.of([], steps=np.zeros(0, int))
