"""Eigenvalue densities: the curve at the time of the slider with band and resolved nodes, and all of them as a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, log, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from landscape.render import theme
from landscape.render.density_figure import FLOOR, OPERATORS
from landscape.render.numerals import count, number, plural
from landscape.render.report_page.escaping import label
from landscape.render.report_page.packing import MOMENTS, logarithms, plain, thinned
from landscape.render.report_page.panel import CURVE_COLORS, Panel, axis, cursor, cursor_move, dash, words_move

if TYPE_CHECKING:
    from landscape.records import DensitySeries, SpectralDensity

Array = NDArray[np.float64]
POINTS = 561  # of a curve: more than two per kernel width of one sign
STEMS = 600  # resolved eigenvalues that are drawn of one density: the largest in magnitude
LEVEL = 0.95


@dataclass
class Film:
    """Densities of one operator along one run.

    Attributes
    ----------
    run, operator : str
    moments : list of (step, density)
    given, worse : int
        How many steps there were before some were left out, and how many densities of a step that has a better one.
    """

    run: str
    operator: str
    moments: list[tuple[int, SpectralDensity]] = field(default_factory=list)
    given: int = 0
    worse: int = 0

    def add(self, step: int, density: SpectralDensity) -> None:
        """One density for each step: that with the smallest predicted error."""
        for index, (other, there) in enumerate(self.moments):
            if other == step:
                self.worse += 1
                if density.error < there.error or not isfinite(there.error):
                    self.moments[index] = step, density
                return
        self.moments.append((step, density))


def films(densities: Sequence[SpectralDensity], series: Sequence[DensitySeries]) -> tuple[list[Film], list[int]]:
    """Densities that know their step, by run and operator; and which of them do not."""
    found: dict[tuple[str, str], Film] = {}
    static = []

    def add(run: str, step: int, density: SpectralDensity) -> None:
        found.setdefault((run, density.operator), Film(run, density.operator)).add(step, density)

    for one in series:
        kept = thinned(len(one), MOMENTS)
        for at in kept:
            add(one.run, int(one.steps[at]), one[int(at)])
        if len(kept):
            found[one.run, one[0].operator].given += len(one) - len(kept)
    for index, density in enumerate(densities):
        step = density.provenance.get("step")
        if isinstance(step, (int, np.integer)) and not isinstance(step, bool):
            add(str(density.provenance.get("run", "")), int(step), density)
        else:
            static.append(index)
    for film in found.values():
        film.moments.sort(key=lambda moment: moment[0])
        film.given += len(film.moments)
        film.moments = [film.moments[at] for at in thinned(len(film.moments), MOMENTS)]
    return list(found.values()), static


def film_panels(film: Film, colors: Sequence[str] = ("@curve-0", "@curve-1")) -> list[Panel]:
    """The density at the moment, and with three moments or more the map of all."""
    view = _View.of([density for _, density in film.moments])
    steps = np.array([step for step, _ in film.moments])
    curves = [view.curves(density) for _, density in film.moments]
    panels = [_moving(film, view, steps, curves, colors)]
    if len(steps) >= 3:
        panels.append(_waterfall(film, view, steps, np.stack([curve for curve, _, _ in curves])))
    return panels


def static_panel(densities: Sequence[SpectralDensity], names: Sequence[str]) -> Panel:
    """Densities that belong to no moment, over each other."""
    view = _View.of(densities)
    data: list[dict[str, Any]] = []
    facts, warnings = [view.smoothing], []
    for index, (density, name) in enumerate(zip(densities, names, strict=True)):
        color = f"@curve-{index % CURVE_COLORS}"
        own = _traces(view, view.curves(density), density, (color, color if len(densities) > 1 else "@curve-1"), name)
        own[1]["line"]["dash"] = dash(index, CURVE_COLORS)
        data += own
        prefix = f"{name}: " if len(densities) > 1 else ""
        facts.append(prefix + _facts(density))
        if isfinite(density.error) and not density.converged:
            warnings.append(f"{prefix}NOT CONVERGED to the error asked for ({number(density.tol, 2)})")
    title = "Eigenvalue density" if len(densities) == 1 else "Eigenvalue densities"
    words = "; ".join(f"{name}: {_facts(density)}" for density, name in zip(densities, names, strict=True))
    return Panel(title, f"{title}, logarithmic, with a 95 % band. {words}.", data, view.layout(), [], facts, warnings)


@dataclass(frozen=True)
class _View:
    """What all densities of a panel share: one kernel width, one axis of the eigenvalues, one range of heights."""

    x: Array
    sigma: float
    height: float
    floor: float
    top: float
    operator: str

    @classmethod
    def of(cls, densities: Sequence[SpectralDensity]) -> _View:
        sigma = max(one.default_sigma for one in densities)
        height = min(1 / (one.n * sigma * sqrt(2 * pi)) for one in densities)
        low, high = min(one.lambda_min for one in densities), max(one.lambda_max for one in densities)
        reach = sqrt(2 * log(max(one.n for one in densities) / FLOOR)) + 0.3
        margin = max(reach * sigma, 0.02 * (high - low))
        x = np.linspace(low - margin, high + margin, POINTS)
        top = max(float(_band(one, x, sigma, one.pdf(x, sigma))[1].max()) for one in densities)
        floor = FLOOR * height
        return cls(x, sigma, height, floor, max(2.0 * top, 100 * floor), densities[0].operator)

    def curves(self, density: SpectralDensity) -> tuple[Array, Array, Array]:
        curve = density.pdf(self.x, self.sigma)
        low, high = _band(density, self.x, self.sigma, curve)
        return curve, low, high

    @property
    def smoothing(self) -> str:
        return f"smoothed with σ = {number(self.sigma)}, 1 % of the largest |λ| in this panel"

    def packed(self, rows: Any) -> dict[str, Any]:
        return logarithms(rows, self.floor / 10, self.top)

    def layout(self) -> dict[str, Any]:
        name = OPERATORS.get(self.operator, self.operator)
        return {
            "xaxis": axis(f"eigenvalue λ of the {name} (loss per parameter²)", range=plain([self.x[0], self.x[-1]])),
            "yaxis": axis(
                "share of eigenvalues per unit of λ",
                type="log",
                exponentformat="power",
                range=plain(np.log10([self.floor, self.top])),
            ),
            "shapes": [
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "yref": "y",
                    "y0": self.height,
                    "y1": self.height,
                    "line": {"color": "@quiet", "width": 1, "dash": "dot"},
                    "layer": "below",
                }
            ],
            "annotations": [
                {
                    "xref": "paper",
                    "x": 1,
                    "xanchor": "right",
                    "yref": "y",
                    "y": float(np.log10(self.height)),
                    "yanchor": "bottom",
                    "text": "height of one eigenvalue",
                    "showarrow": False,
                    "font": {"size": 11, "color": "@quiet"},
                }
            ],
            "showlegend": False,
        }


def _band(density: SpectralDensity, x: Array, sigma: float, curve: Array) -> tuple[Array, Array]:
    """The 95 % band; the curve itself where a record without residuals has none."""
    low, high = density.pdf_band(x, sigma, LEVEL)
    return np.where(np.isfinite(low), low, curve), np.where(np.isfinite(high), high, curve)


def _traces(
    view: _View, curves: tuple[Array, Array, Array], density: SpectralDensity, colors: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Band, curve and stems."""
    curve, low, high = curves
    x = plain(view.x)
    stems_x, stems_y = _stems(view, density)
    around = np.concatenate([high, low[::-1]])
    shown = label(name)
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [*x, *x[::-1]],
            "y": view.packed(around),
            "fill": "toself",
            "fillcolor": f"{colors[0]}-soft",
            "line": {"width": 0, "color": colors[0]},
            "hoverinfo": "skip",
            "name": "95 % band",
            "legendgroup": shown,
            "showlegend": colors[0] != colors[1],
        },
        {
            "type": "scatter",
            "mode": "lines",
            "x": x,
            "y": view.packed(curve),
            "name": shown,
            "legendgroup": shown,
            "line": {"color": colors[0], "width": 2},
            "hovertemplate": "λ %{x:.5g}: %{y:.3g}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": stems_x,
            "y": stems_y,
            "legendgroup": shown,
            "name": "resolved eigenvalues",
            "showlegend": colors[0] != colors[1],
            "line": {"color": colors[1], "width": 1},
            "marker": {"size": 4, "color": colors[1]},
            "hovertemplate": "resolved eigenvalue %{x:.6g}<extra></extra>",
        },
    ]


def _stems(view: _View, density: SpectralDensity) -> tuple[list[Any], list[Any]]:
    """Each resolved eigenvalue from the axis to the height of one eigenvalue."""
    values = density.eigenvalues
    values = np.sort(values[np.argsort(-np.abs(values), kind="stable")[:STEMS]])
    x = [place for value in plain(values) for place in (value, value, None)]
    ends = plain([view.floor / 10, 1 / (density.n * view.sigma * sqrt(2 * pi))])
    return x, [*ends, None] * len(values)


def _moving(
    film: Film, view: _View, steps: NDArray[np.int64], curves: list[tuple[Array, Array, Array]], colors: Sequence[str]
) -> Panel:
    name = OPERATORS.get(film.operator, film.operator)
    densities = [density for _, density in film.moments]
    data = _traces(view, curves[-1], densities[-1], colors, name)
    stems = [_stems(view, density) for density in densities]
    bands = np.stack([np.concatenate([high, low[::-1]]) for _, low, high in curves])
    moves: list[dict[str, Any]] = []
    if len(steps) > 1:
        moves.append(
            {
                "kind": "frames",
                "steps": plain(steps),
                "traces": [
                    {"trace": 0, "y": view.packed(bands)},
                    {"trace": 1, "y": view.packed(np.stack([curve for curve, _, _ in curves]))},
                    {"trace": 2, "x": [x for x, _ in stems], "y": [y for _, y in stems]},
                ],
            }
        )
    moves.append(words_move(steps, [_at(step, density, film.run) for step, density in film.moments]))
    missed = sum(1 for one in densities if isfinite(one.error) and not one.converged)
    facts = [f"{plural(len(steps), 'moment')}, n = {count(densities[0].n)}", view.smoothing]
    if film.given > len(steps):
        facts.append(f"drawn at {count(len(steps))} of {plural(film.given, 'moment')}")
    if film.worse:
        facts.append(f"of several densities at a step the most accurate is drawn; {count(film.worse)} left out")
    if any(len(density.eigenvalues) > STEMS for density in densities):
        facts.append(f"of the resolved eigenvalues at most {STEMS} are drawn, the largest in magnitude")
    warnings = (
        [
            f"{count(missed)} of {plural(len(steps), 'density')} NOT CONVERGED to the error asked for".replace(
                "densitys", "densities"
            )
        ]
        if missed
        else []
    )
    whose = f" along {film.run}" if film.run else ""
    words = f"Eigenvalue density of the {name}{whose} with a 95 % band, logarithmic. "
    words += f"First: {_facts(densities[0])}. Last: {_facts(densities[-1])}."
    return Panel(f"Eigenvalue density{whose}", words, data, view.layout(), moves, facts, warnings)


def _waterfall(film: Film, view: _View, steps: NDArray[np.int64], rows: Array) -> Panel:
    low, high = np.log10(view.floor), np.log10(view.top / 2)
    marks = np.arange(np.ceil(low), np.floor(high) + 1)
    colors = theme.LANDSCAPE(np.linspace(0.97, 0.0, 13))
    data = [
        {
            "type": "heatmap",
            "x": plain(view.x),
            "y": plain(steps),
            "z": {**view.packed(rows), "exponents": True},
            "zmin": float(low),
            "zmax": float(high),
            "zsmooth": False,
            "name": "",
            "colorscale": [[round(index / 12, 4), to_hex(color)] for index, color in enumerate(colors)],
            "hovertemplate": "step %{y}<br>λ %{x:.4g}<br>10^%{z:.2f} per unit of λ<extra></extra>",
            "colorbar": {
                "title": {"text": "share per<br>unit of λ"},
                "thickness": 12,
                "len": 0.85,
                "outlinewidth": 0,
                "tickvals": plain(marks),
                "ticktext": [number(float(10.0**mark), 1) for mark in marks],
            },
        }
    ]
    name = OPERATORS.get(film.operator, film.operator)
    layout = {
        "xaxis": axis(f"eigenvalue λ of the {name} (loss per parameter²)", showgrid=False, zeroline=False),
        "yaxis": axis("step", showgrid=False, zeroline=False),
        "shapes": [cursor(horizontal=True)],
    }
    whose = f" along {film.run}" if film.run else ""
    largest = [density.lambda_max for _, density in film.moments]
    words = (
        f"Map of the density over eigenvalue and step. The largest eigenvalue begins at {number(largest[0])}, ends at "
        f"{number(largest[-1])} and is at most {number(max(largest))}."
    )
    facts = [
        "each row is one measured density, reaching half-way to the next",
        "colours: share of the eigenvalues per unit of λ, logarithmic",
    ]
    return Panel(f"Density over training{whose}", words, data, layout, [cursor_move(0, steps, "y")], facts)


def _at(step: int, density: SpectralDensity, run: str) -> str:
    converged = "" if density.converged or not isfinite(density.error) else ", NOT CONVERGED"
    return f"{run + ', ' if run else ''}step {count(step)}: {_facts(density)}{converged}"


def _facts(density: SpectralDensity) -> str:
    low, high = density.ends_resolved
    words = [
        f"λₘₐₓ {'=' if high else '≥'} {number(density.lambda_max)}",
        f"λₘᵢₙ {'=' if low else '≤'} {number(density.lambda_min)}",
        f"{count(int(density.resolved.sum()))} resolved",
    ]
    if isfinite(density.trace):
        words.append(f"trace {number(density.trace)} ± {number(density.trace_stderr, 1)}")
    if isfinite(density.error):
        words.append(f"predicted error {number(density.error, 2)} (asked: {number(density.tol, 2)})")
    return ", ".join(words)
