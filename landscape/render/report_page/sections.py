"""Which panels a set of records makes: one section for each network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records import DensitySeries, EigenPairs, EigenSeries, Profile, SpectralDensity, Stability, Surface
from landscape.render.density_figure import OPERATORS
from landscape.render.numerals import count
from landscape.render.report_page.curve_panels import (
    RecordedRun,
    distance_panel,
    eigenvalue_panel,
    loss_panel,
    pairs_panel,
    rate_panel,
    run_names,
    stability_panel,
)
from landscape.render.report_page.density_panels import film_panels, films, static_panel
from landscape.render.report_page.panel import Panel
from landscape.render.report_page.profile_panel import profile_panel
from landscape.render.report_page.surface_panels import surface_panels

KNOWN = (Surface, SpectralDensity, DensitySeries, EigenPairs, EigenSeries, Profile, Stability)
CURVES = ("steps", "losses", "learning_rates", "name", "complete")


@dataclass
class Section:
    """What belongs to one network.

    Attributes
    ----------
    n : int
        Its number of parameters; 0 if no record says it.
    records : list of (record, label)
    """

    n: int
    records: list[tuple[Any, str]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The network in words."""
        return f"Network of {count(self.n)} parameters" if self.n else "Network of unknown size"

    def panels(self) -> list[Panel]:
        """In the order of the page: the landscape, what happens on it, its curvature."""
        return list(_panels(self.records))


def is_run(record: Any) -> bool:
    """Whether something is a recorded run."""
    return all(hasattr(record, name) for name in CURVES)


def sections(records: Sequence[Any], labels: Sequence[str]) -> list[Section]:
    """Records by network, in the order in which they were given; what does not say its size goes to the only one.

    Raises
    ------
    InputError
        One of them is nothing that a page can show.
    """
    for record, name in zip(records, labels, strict=True):
        if not isinstance(record, KNOWN) and not is_run(record):
            kinds = ", ".join(kind.__name__ for kind in KNOWN)
            raise InputError(
                f"{name} is a {type(record).__name__}, which a report cannot show; it shows {kinds} and runs"
            )
    sizes = list(dict.fromkeys(int(getattr(record, "n", 0)) for record in records))
    known = [size for size in sizes if size]
    found = {size: Section(size) for size in (known if len(known) == 1 else sizes)}
    for record, name in zip(records, labels, strict=True):
        size = int(getattr(record, "n", 0))
        found[size if size in found else known[0]].records.append((record, name))
    return list(found.values())


def _panels(records: Sequence[tuple[Any, str]]) -> Iterator[Panel]:
    surfaces = _of(records, Surface)
    runs: list[RecordedRun] = [record for record, _ in records if is_run(record) and not isinstance(record, KNOWN)]
    paths = {path.name: path for surface, _ in surfaces for path in surface.paths}
    names = run_names(runs, list(paths.values()))
    for surface, name in surfaces:
        for panel in surface_panels(surface):
            yield _named(panel, name, len(surfaces))
    yield from filter(
        None,
        (
            loss_panel(runs, list(paths.values()), names),
            distance_panel(list(paths.values()), names),
            rate_panel(runs, names),
        ),
    )
    yield from _density_panels(records)
    for series, name in _of(records, EigenSeries):
        yield _named(eigenvalue_panel(series, _threshold(series, [one for one, _ in surfaces])), name, 0)
    yield from (pairs_panel(pairs, name) for pairs, name in _of(records, EigenPairs) if len(pairs))
    yield from (stability_panel(one, name) for one, name in _of(records, Stability) if len(one))
    yield from (profile_panel(profile, name) for profile, name in _of(records, Profile))


def _density_panels(records: Sequence[tuple[Any, str]]) -> Iterator[Panel]:
    single = _of(records, SpectralDensity)
    moving, static = films([density for density, _ in single], [series for series, _ in _of(records, DensitySeries)])
    for film in moving:
        if film.moments:
            yield from film_panels(film)
    for operator in dict.fromkeys(single[index][0].operator for index in static):
        chosen = [single[index] for index in static if single[index][0].operator == operator]
        own = [OPERATORS.get(operator, operator)] if len(chosen) == 1 else [name for _, name in chosen]
        yield static_panel([density for density, _ in chosen], own)


def _of(records: Sequence[tuple[Any, str]], kind: type[Any]) -> list[tuple[Any, str]]:
    return [(record, name) for record, name in records if isinstance(record, kind)]


def _named(panel: Panel, name: str, alike: int) -> Panel:
    """Where there are several of a kind, a panel says which it is."""
    if alike > 1:
        panel.title = f"{panel.title}: {name}"
    return panel


def _threshold(
    series: EigenSeries, surfaces: Sequence[Surface]
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """What the optimizer of the run bears, as far as a surface knows it; it is right for the Hessian alone."""
    if series.operator != "hessian":
        return None
    for surface in surfaces:
        for index, name in enumerate(surface.path_names):
            mine = surface.path_run == index
            if str(name) == series.run and len(surface.path_threshold) == len(surface.path_run):
                return surface.path_step[mine], surface.path_threshold[mine]
    return None
