"""Which panels a set of records makes: one section for each network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records import (
    Connectivity,
    DensitySeries,
    EigenPairs,
    EigenSeries,
    PathProfile,
    Profile,
    SpectralDensity,
    Stability,
    Surface,
)
from landscape.render.density_figure import OPERATORS
from landscape.render.numerals import count
from landscape.render.report_page.connectivity_panel import connectivity_panel
from landscape.render.report_page.curve_panels import (
    Placed,
    RecordedRun,
    distance_panel,
    eigenvalue_panel,
    loss_panel,
    pairs_panel,
    rate_panel,
    stability_panel,
)
from landscape.render.report_page.density_panels import film_panels, films, static_panel
from landscape.render.report_page.panel import Panel
from landscape.render.report_page.path_panels import path_panels
from landscape.render.report_page.profile_panel import profile_panel
from landscape.render.report_page.run_names import RunNames, short_labels
from landscape.render.report_page.surface_panels import surface_panels

if TYPE_CHECKING:
    from landscape.records import PathOnSurface

KNOWN = (
    Surface, SpectralDensity, DensitySeries, EigenPairs, EigenSeries, Profile, Stability, PathProfile, Connectivity,
)  # fmt: skip
LENGTHS = ("steps", "values", "nodes", "s")  # what a record has at least one of
OWN_LENGTHS: dict[type[Any], tuple[str, ...]] = {PathProfile: ("s",), Connectivity: ("point_names",)}
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
        labels, full = short_labels([name for _, name in self.records])
        records = [(record, label) for (record, _), label in zip(self.records, labels, strict=True)]
        names = _names_of([record for record, _ in records])
        found = list(_panels(records, names))
        for panel in found:
            panel.full = {**names.full, **full}
        return found


def is_run(record: Any) -> bool:
    """Whether something is a recorded run."""
    return all(hasattr(record, name) for name in CURVES)


def sections(records: Sequence[Any], labels: Sequence[str]) -> list[Section]:
    """Records by network, in the order in which they were given; what does not say its size goes to the only one.

    Raises
    ------
    InputError
        One of them is nothing that a page can show, or holds nothing.
    """
    for record, name in zip(records, labels, strict=True):
        if not isinstance(record, KNOWN) and not is_run(record):
            kinds = ", ".join(kind.__name__ for kind in KNOWN)
            raise InputError(
                f"{name} is a {type(record).__name__}, which a report cannot show; it shows {kinds} and runs"
            )
        lengths = OWN_LENGTHS.get(type(record), LENGTHS)
        if any(hasattr(record, one) and len(getattr(record, one)) == 0 for one in lengths):
            raise InputError(f"{name} is empty: there is nothing to show; leave it out, or compute it again")
    sizes = list(dict.fromkeys(int(getattr(record, "n", 0)) for record in records))
    known = [size for size in sizes if size]
    found = {size: Section(size) for size in (known if len(known) == 1 else sizes)}
    for record, name in zip(records, labels, strict=True):
        size = int(getattr(record, "n", 0))
        found[size if size in found else known[0]].records.append((record, name))
    return list(found.values())


def _digest(record: Any) -> str:
    """That of the run which a record is, or belongs to; "" if it is not known."""
    if hasattr(record, "digest"):
        return str(record.digest())
    return str(record.provenance.get("configuration", {}).get("run_sha256", ""))


def _names_of(records: Sequence[Any]) -> RunNames:
    """Of all runs, in the order in which they get their colours: those on a surface first."""
    paths = [(run.name, run.sha256) for record in records if isinstance(record, Surface) for run in record.paths]
    runs = [(str(one.name), _digest(one)) for one in _runs(records)]
    series = [(one.run, _digest(one)) for one in records if isinstance(one, (EigenSeries, DensitySeries)) and one.run]
    return RunNames([*paths, *runs, *series])


def _runs(records: Sequence[Any]) -> list[Any]:
    return [record for record in records if is_run(record) and not isinstance(record, KNOWN)]


def _panels(records: Sequence[tuple[Any, str]], names: RunNames) -> Iterator[Panel]:
    surfaces = _of(records, Surface)
    runs = [
        RecordedRun(
            names.label(str(run.name), _digest(run)), run.steps, run.losses, run.learning_rates, bool(run.complete)
        )
        for run in _runs([record for record, _ in records])
    ]
    renamed = [(_renamed(surface, names), name) for surface, name in surfaces]
    for surface, name in renamed:
        for panel in surface_panels(surface, [names.labels.index(run) for run in map(str, surface.path_names)]):
            yield _named(panel, name, len(surfaces))
    placed = _placed(renamed)
    curves = (
        loss_panel(runs, placed, names.labels), distance_panel(placed, names.labels), rate_panel(runs, names.labels)
    )  # fmt: skip
    yield from filter(None, curves)
    yield from _density_panels(records, names)
    for series, _ in _of(records, EigenSeries):
        shown = replace(series, run=names.label(series.run, _digest(series)))
        yield eigenvalue_panel(shown, _threshold(shown, [surface for surface, _ in renamed]))
    yield from (pairs_panel(pairs, name) for pairs, name in _of(records, EigenPairs))
    yield from (stability_panel(one, name) for one, name in _of(records, Stability))
    yield from (profile_panel(profile, name) for profile, name in _of(records, Profile))
    paths, matrices = _of(records, PathProfile), _of(records, Connectivity)
    yield from (_named(panel, name, len(paths)) for path, name in paths for panel in path_panels(path, name))
    yield from (_named(connectivity_panel(one, name), name, len(matrices)) for one, name in matrices)


def _renamed(surface: Surface, names: RunNames) -> Surface:
    """With the names that the page gives its runs."""
    return replace(surface, path_names=np.array([names.label(run.name, run.sha256) for run in surface.paths], str))


def _placed(surfaces: Sequence[tuple[Surface, str]]) -> list[Placed]:
    """The runs on all surfaces; once where two surfaces say the same of a run."""
    found: list[Placed] = []
    for surface, name in surfaces:
        found += [
            Placed(path, name)
            for path in surface.paths
            if not any(path.name == other.path.name and _alike(path, other.path) for other in found)
        ]
    names = [one.path.name for one in found]
    return [one if names.count(one.path.name) > 1 else Placed(one.path, "") for one in found]


def _alike(path: PathOnSurface, other: PathOnSurface) -> bool:
    return all(
        np.array_equal(getattr(path, name), getattr(other, name), equal_nan=True)
        for name in ("steps", "loss", "projected_loss", "distance")
    )


def _density_panels(records: Sequence[tuple[Any, str]], names: RunNames) -> Iterator[Panel]:
    series = [replace(one, run=names.label(one.run, _digest(one))) for one, _ in _of(records, DensitySeries)]
    single = _of(records, SpectralDensity)
    moving, static = films([_of_named_run(density, names) for density, _ in single], series)
    for film in moving:
        yield from film_panels(film)
    for operator in dict.fromkeys(single[index][0].operator for index in static):
        chosen = [single[index] for index in static if single[index][0].operator == operator]
        own = [OPERATORS.get(operator, operator)] if len(chosen) == 1 else [name for _, name in chosen]
        yield static_panel([density for density, _ in chosen], own)


def _of_named_run(density: SpectralDensity, names: RunNames) -> SpectralDensity:
    run = str(density.provenance.get("run", ""))
    return replace(density, provenance={**density.provenance, "run": names.label(run)})


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
        for path in surface.paths:
            if path.name == series.run and np.isfinite(path.threshold).any():
                return path.steps, path.threshold
    return None
