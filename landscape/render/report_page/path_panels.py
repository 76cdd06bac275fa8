"""A path between two minima: the loss with its barrier, the densities along it, and what is known beside them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from landscape.records.displaying import LOGARITHMIC_RANGE, is_spread
from landscape.render import theme
from landscape.render.density_figure import FLOOR
from landscape.render.eigenvalue_scale import symmetric_ticks
from landscape.render.numerals import count, number, plural
from landscape.render.path_curves import (
    PathCurve,
    band_of,
    barrier_text,
    check_profiles,
    eigenvalue_curves,
    end_losses,
    facts_of,
    fine_chord,
    is_barrier,
    loss_curves,
    metric_curves,
    metric_of,
    overlap_curves,
)
from landscape.render.path_density import EigenvalueMap, densities_of
from landscape.render.path_image import operators_of
from landscape.render.report_page.escaping import label
from landscape.render.report_page.packing import CHECKPOINTS, MOMENTS, floats, logarithms, plain, thinned
from landscape.render.report_page.panel import Panel, area, axis, line, value_axis

if TYPE_CHECKING:
    from landscape.records import PathProfile

Array = NDArray[np.float64]
LEVEL = 0.95
NORM = "gradient norm"
ROWS = 360  # of the image: more than a screen shows of it
LONGEST = 24  # letters of the name of a minimum in a title
NOTHING, EDGE = "rgba(0,0,0,0)", 1e-3  # of the scale of colours: where there is no eigenvalue, the page is seen
WAY = "share of the way along the path"
LINES = {
    "largest": "#B84A00",
    "smallest": "#A3217F",
    "curvature": "#000000",
}  # on the ground of the map, in both themes


def path_panels(record: PathProfile, name: str) -> list[Panel]:
    """The loss, the densities or the eigenvalues, and small panels for accuracy, gradient and overlaps.

    Parameters
    ----------
    record : PathProfile
    name : str
        What the page calls it.
    """
    check_profiles([record])
    found = EigenvalueMap.of([record], ROWS)
    panels = [_losses(record, name)]
    panels[0].size = "tall" if found is not None and any(one is not None for one in densities_of(record)) else ""
    if found is not None:
        panels.append(_eigenvalues(record, found))
    metric = metric_of([record])
    s = len(record.s)
    norms = [PathCurve(NORM, record.gradient_norms, "")] if len(record.gradient_norms) == s else []
    curvatures = [PathCurve("curvature along the path", record.curvatures, "")] if len(record.curvatures) == s else []
    metrics = metric_curves(record, metric) if metric is not None else []
    for title, words, curves in (
        (f"{_cut(metric or '')} along the path", _cut(metric or ""), metrics),
        ("Gradient norm along the path", NORM, norms),
        ("Curvature along the path", "curvature", [] if found is not None else curvatures),
        ("Overlap of the eigenvectors", "share", overlap_curves(record)),
    ):
        if any(np.isfinite(one.values).any() for one in curves):
            panels.append(_curves(record, title, words, curves))
    return panels


def _ends(record: PathProfile) -> tuple[str, str]:
    first, second = (_cut(str(name)) for name in record.end_names[:2])
    return first, second


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _losses(record: PathProfile, name: str) -> Panel:
    kept = thinned(len(record.s), CHECKPOINTS)
    s, curves = record.s[kept], loss_curves(record)
    every = np.concatenate([curve.values for curve in curves])
    logarithmic = is_spread(every, LOGARITHMIC_RANGE)
    low, high = (one[kept] for one in band_of(record, LEVEL, logarithmic))
    banded = bool(np.isfinite(high).any())
    data = [area(s, low, high, "@curve-0", f"{100 * LEVEL:g} % band")] if banded else []
    looks: tuple[dict[str, Any], ...] = ({}, {"dash": "dash", "width": 1.5}, {"dash": "dot", "width": 1.5})
    for index, (curve, look) in enumerate(zip(curves, looks, strict=False)):
        mode = "lines+markers" if len(kept) <= MOMENTS else "lines"
        data.append(line(curve.name, s, curve.values[kept], f"@curve-{index}", mode=mode, marker={"size": 4}, **look))
    chord = fine_chord(record)
    if np.isfinite(chord[1]).all():
        data.append(line("chord", chord[0][::8], chord[1][::8], "@quiet", dash="dash", width=1.2))
    if is_barrier(record):
        text, chord_there = barrier_text(record, LEVEL), _at_summit(record)
        ends = [chord_there, chord_there + record.barrier]
        data.append(
            line(text, [record.barrier_at] * 2, ends, "@ink", mode="lines+markers", marker={"size": 5}, width=1.5)
        )
    first, second = _ends(record)
    data.append(
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [0, 1],
            "y": plain(end_losses(record)),
            "text": [label(first), label(second)],
            "textposition": ["top right", "top left"],
            "name": "minima",
            "marker": {"symbol": "diamond", "size": 9, "color": "@ink"},
            "hovertemplate": "%{text}: %{y:.6g}<extra></extra>",
        }
    )
    size = f", n = {count(record.n)}" if record.n else ""
    facts = [f"{name}: {plural(len(record.s), 'point')}{size}", *facts_of(record)]
    if len(kept) < len(record.s):
        facts.append(f"drawn at {count(len(kept))} of {plural(len(record.s), 'point')}")
    words = barrier_text(record, LEVEL)
    if words:
        facts.append(f"{words} at s = {number(record.barrier_at)}" if is_barrier(record) else words)
    if banded:
        parts = plural(len(record.samples), "part")
        facts.append(f"band and ±: 95 % for the mean over all data of this kind, from {parts} of these data")
    layout = {"xaxis": axis(WAY), "yaxis": _value_axis("loss", logarithmic), "showlegend": False}
    warnings = [f"{plural(record.holes, 'point')} without a finite loss"] if record.holes else []
    alternative = f"Loss along a path from {first} to {second}: {words or 'the barrier is not known'}."
    return Panel(f"Loss from {first} to {second}", alternative, data, layout, [], facts, warnings)


def _value_axis(words: str, logarithmic: bool) -> dict[str, Any]:
    """An axis whose logarithmic ticks are 1, 2 and 5 in each decade."""
    return value_axis(words, logarithmic, **({"dtick": "D2"} if logarithmic else {}))


def _at_summit(record: PathProfile) -> float:
    """The chord where the barrier is."""
    return float(record.chord[record.s == record.barrier_at][0])


def _eigenvalues(record: PathProfile, found: EigenvalueMap) -> Panel:
    """The image of the densities, with lines; the lines alone where there are none."""
    densities = densities_of(record)
    known = [density for density in densities if density is not None]
    data: list[dict[str, Any]] = []
    if known:
        kept = thinned(len(record.s), MOMENTS)
        data.append(_image(record, found, kept))
    for curve in eigenvalue_curves(record):
        data += _line(record.s, curve, found, bool(known))
    names = operators_of([record])
    where = f" of the {names.pop()}" if len(names) == 1 else ""
    low, high = found.limits
    marks = symmetric_ticks(low, high, found.width)[0]
    layout = {
        "xaxis": axis(WAY, range=plain(_span(record)), showgrid=False, zeroline=False),
        "yaxis": axis(
            f"eigenvalue λ{where}", range=plain(np.arcsinh(np.array([low, high]) / found.width)), zeroline=True,
            showgrid=False, tickvals=plain(np.arcsinh(marks / found.width)),
            ticktext=[number(float(mark)) for mark in marks],
        ),
        "showlegend": False,
    }  # fmt: skip
    first, second = _ends(record)
    ends = f"λ from {number(float(np.nanmin(record.lambda_min)))} to {number(float(np.nanmax(record.lambda_max)))}"
    facts = [ends, "axis: linear around zero, logarithmic beyond"]
    warnings = []
    if known:
        facts.append("each column is one measured density, smoothed with 1 % of its largest |λ|")
        errors = [one.error for one in known if isfinite(one.error)]
        if errors:
            facts.append(f"predicted error of the densities at most {number(max(errors), 2)}")
        missed = sum(1 for one in known if isfinite(one.error) and not one.converged)
        warnings += [f"{count(missed)} of {count(len(known))} densities NOT CONVERGED to the error asked for"] * bool(
            missed
        )
        missing = len(densities) - len(known)
        warnings += [f"{plural(missing, 'point')} without a density"] * bool(missing)
    what = "Eigenvalue density" if known else "Eigenvalues"
    return Panel(
        f"{what} from {first} to {second}", f"{what} along a path from {first} to {second}: {ends}.", data, layout, [],
        facts, warnings, "tall" if known else "",
    )  # fmt: skip


def _span(record: PathProfile) -> Array:
    first, last = float(record.s[0]), float(record.s[-1])
    return np.array([first, last] if last > first else [first - 0.5, first + 0.5])


def _image(record: PathProfile, found: EigenvalueMap, kept: NDArray[np.int64]) -> dict[str, Any]:
    rows = found.image(record)[:, kept]
    low, high = np.log10(FLOOR), np.log10(found.top)
    marks = np.arange(np.ceil(low), np.floor(high) + 1)
    colors = theme.LANDSCAPE(np.linspace(0.97, 0.0, 13))
    return {
        "type": "heatmap",
        "x": plain(record.s[kept]),
        "y": plain(np.arcsinh(found.x / found.width)),
        "z": {**logarithms(rows, FLOOR, found.top), "exponents": True},
        "customdata": floats(np.repeat(found.x[:, None], len(kept), axis=1)),
        "zmin": float(low),
        "zmax": float(high),
        "zsmooth": False,
        "name": "",
        "colorscale": [
            [0, NOTHING],
            [EDGE, NOTHING],
            *([round(EDGE + (1 - EDGE) * index / 12, 5), to_hex(color)] for index, color in enumerate(colors)),
        ],
        "hovertemplate": "s = %{x:.4g}<br>λ %{customdata:.4g}<br>10^%{z:.2f} eigenvalues within σ<extra></extra>",
        "colorbar": {
            "title": {"text": "eigenvalues<br>within σ"},
            "thickness": 12,
            "len": 0.85,
            "outlinewidth": 0,
            "tickvals": plain(marks),
            "ticktext": [number(float(10.0**mark), 1) for mark in marks],
        },
    }


def _line(s: Array, curve: PathCurve, found: EigenvalueMap, on_map: bool) -> list[dict[str, Any]]:
    """A line on the axis of the map; on its dark ground with a light seam."""
    places = np.arcsinh(curve.values / found.width)
    word = next((word for word in LINES if word in curve.name), "largest")
    themed = {"largest": "@curve-1", "smallest": "@curve-3", "curvature": "@ink"}[word]
    look: dict[str, Any] = {"dash": "dot"} if word == "curvature" else {}
    shown = line(curve.name or "largest λ", s, places, LINES[word] if on_map else themed, width=1.6, **look)
    group = label({"largest": "the largest eigenvalues"}.get(word, word))
    shown |= {
        "customdata": plain(curve.values),
        "hovertemplate": "%{meta[0]}<br>s = %{x:.4g}: %{customdata:.6g}<extra></extra>",
        "legendcolor": themed,
        "legendgroup": group,
        "showlegend": bool(curve.name),
    }
    if not on_map:
        return [shown]
    seam = line("", s, places, "#FFFFFF", width=3, opacity=0.6, hoverinfo="skip", showlegend=False, legendgroup=group)
    seam.pop("hovertemplate")
    return [seam, shown]


def _curves(record: PathProfile, title: str, words: str, curves: Sequence[PathCurve]) -> Panel:
    """A small panel of curves over the path."""
    kept = thinned(len(record.s), CHECKPOINTS)
    styles = ("solid", "dash", "dot")
    data = [
        line(_cut(curve.name), record.s[kept], curve.values[kept], f"@curve-{index}", dash=styles[index % len(styles)])
        for index, curve in enumerate(curves)
    ]
    every = np.concatenate([curve.values for curve in curves])
    finite = every[np.isfinite(every)]
    ends = f"between {number(float(finite.min()))} and {number(float(finite.max()))}"
    logarithmic = words == NORM and is_spread(finite, LOGARITHMIC_RANGE)
    layout = {
        "xaxis": axis(WAY),
        "yaxis": _value_axis(words, logarithmic),
        "showlegend": False,
    }
    title = title[:1].upper() + title[1:]
    return Panel(title, f"{title}: {ends}.", data, layout)
