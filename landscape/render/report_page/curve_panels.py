"""Curves over the steps: losses, distance from the plane, learning rates, eigenvalues, stability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landscape.records.displaying import is_spread
from landscape.render.density_figure import OPERATORS
from landscape.render.numerals import count, number, plural
from landscape.render.report_page.packing import CHECKPOINTS, plain, thinned
from landscape.render.report_page.panel import (
    CURVE_COLORS,
    DASHES,
    Panel,
    area,
    axis,
    cursor,
    cursor_move,
    dash,
    line,
    run_color,
    value_axis,
    words_move,
)

if TYPE_CHECKING:
    from landscape.records import EigenPairs, EigenSeries, PathOnSurface, Stability

Array = NDArray[np.float64]
LARGE = 0.01  # of the value: a residual that can be seen


@dataclass(frozen=True)
class RecordedRun:
    """What the page shows of a recorded run, by the name that the page gives it."""

    name: str
    steps: NDArray[np.int64]
    losses: Array
    learning_rates: Array
    complete: bool


class Placed(NamedTuple):
    """A run on a surface; `where` says which, if the run is on several."""

    path: PathOnSurface
    where: str

    @property
    def note(self) -> str:
        """What stands behind the name."""
        return f" ({self.where})" if self.where else ""


def loss_panel(runs: Sequence[RecordedRun], placed: Sequence[Placed], names: Sequence[str]) -> Panel | None:
    """What was recorded, the true loss at the checkpoints, and the loss at their projections."""
    paths = [path for path, _ in placed]
    data, moves, facts, told = [], [], [], []
    known: list[Array] = []
    words = []
    for index, (path, where) in enumerate(placed):
        color, kept = run_color(names.index(path.name)), thinned(len(path.steps), CHECKPOINTS)
        steps, note = path.steps[kept], placed[index].note
        if not any(_same_losses(path, other) for other in paths[:index]):
            again = note if any(path.name == other.name for other in paths[:index]) else ""
            data.append(line(path.name + again, steps, path.loss[kept], color, dash=dash(names.index(path.name))))
            words.append(f"{path.name}{again} from {number(float(path.loss[0]))} to {number(float(path.loss[-1]))}")
            facts.append(_thinned_note(path.name, len(path.steps), len(kept)))
        what = f"{path.name}, at the projection" + (f" onto {where}" if where else "")
        data.append(line(what, steps, path.projected_loss[kept], color, dash="dot", width=1.4))
        known += [path.loss, path.projected_loss]
    for run in runs:
        if not np.isfinite(run.losses).any():
            continue
        if _told(run, paths):
            told.append(run.name)
            continue
        kept, color = thinned(len(run.steps), CHECKPOINTS), run_color(names.index(run.name))
        data.append(line(f"{run.name}, as recorded", run.steps[kept], run.losses[kept], color, width=1, opacity=0.65))
        known.append(np.asarray(run.losses, float))
        finite = np.asarray(run.losses, float)[np.isfinite(run.losses)]
        words.append(f"{run.name} as recorded from {number(float(finite[0]))} to {number(float(finite[-1]))}")
        facts.append(_thinned_note(run.name, len(run.steps), len(kept)))
        moves.append(
            words_move(
                run.steps[kept],
                [
                    f"{run.name}, step {count(int(step))}: recorded loss {number(float(loss), 4)}, "
                    f"learning rate {number(float(rate), 3)}"
                    for step, loss, rate in zip(
                        run.steps[kept], run.losses[kept], run.learning_rates[kept], strict=True
                    )
                ],
            )
        )
    if not data:
        return None
    logarithmic = is_spread(np.concatenate(known), 5)
    steps = np.unique(np.concatenate([*(path.steps for path in paths), *(run.steps for run in runs)]))
    layout = _over_steps(value_axis("loss", logarithmic))
    if paths:
        facts.insert(
            0, "full: the loss at the checkpoint itself, on all data; dotted: at its projection onto the plane"
        )
    if told:
        facts.append(f"the losses that were recorded are the same ({', '.join(told)})")
    unfinished = [f"the recording of {run.name} was cut off" for run in runs if not run.complete]
    return Panel(
        "Loss",
        f"Loss over the steps: {'; '.join(words)}.",
        data,
        layout,
        [cursor_move(0, steps[thinned(len(steps), CHECKPOINTS)]), *moves],
        [fact for fact in facts if fact],
        unfinished,
    )


def distance_panel(placed: Sequence[Placed], names: Sequence[str]) -> Panel | None:
    """How far the checkpoints are from the plane that they are drawn on."""
    paths = [path for path, _ in placed]
    if not paths or not any(np.isfinite(path.distance).any() for path in paths):
        return None
    data, words = [], []
    for number_of, (path, where) in enumerate(placed):
        kept, index = thinned(len(path.steps), CHECKPOINTS), names.index(path.name)
        name = path.name + (f" from {where}" if where else "")
        again = sum(path.name == other.name for other in paths[:number_of])
        look = DASHES[again % len(DASHES)] if again else dash(index)
        data.append(line(name, path.steps[kept], path.distance[kept], run_color(index), dash=look))
        words.append(f"{name} at most {number(float(np.nanmax(path.distance, initial=0)))}")
    steps = np.unique(np.concatenate([path.steps for path in paths]))
    layout = _over_steps(axis("distance in parameter space", rangemode="tozero"))
    return Panel(
        "Distance from the plane",
        f"Distance of the checkpoints from the plane: {'; '.join(words)}.",
        data,
        layout,
        [cursor_move(0, steps[thinned(len(steps), CHECKPOINTS)])],
    )


def rate_panel(runs: Sequence[RecordedRun], names: Sequence[str]) -> Panel | None:
    """Learning rates, where one of them changes."""
    moving = [run for run in runs if len(np.unique(run.learning_rates[np.isfinite(run.learning_rates)])) > 1]
    if not moving:
        return None
    data = []
    for run in moving:
        kept, index = thinned(len(run.steps), CHECKPOINTS), names.index(run.name)
        data.append(line(run.name, run.steps[kept], run.learning_rates[kept], run_color(index), dash=dash(index)))
    every = np.concatenate([run.learning_rates for run in moving])
    steps = np.unique(np.concatenate([run.steps for run in moving]))
    words = "; ".join(
        f"{run.name} from {number(float(run.learning_rates[0]))} to {number(float(run.learning_rates[-1]))}"
        for run in moving
    )
    return Panel(
        "Learning rate",
        f"Learning rate over the steps: {words}.",
        data,
        _over_steps(value_axis("learning rate", is_spread(every, 20))),
        [cursor_move(0, steps[thinned(len(steps), CHECKPOINTS)])],
    )


def eigenvalue_panel(series: EigenSeries, threshold: tuple[NDArray[np.int64], Array] | None) -> Panel:
    """Eigenvalues by rank with their residuals, and what the optimizer can bear where that is known."""
    kept = thinned(len(series), CHECKPOINTS)
    steps, values, residuals = series.steps[kept], series.values[kept], series.residuals[kept]
    data: list[dict[str, Any]] = []
    known = [values[np.isfinite(values)]]
    for rank in range(values.shape[1]):
        color = f"@curve-{rank % CURVE_COLORS}"
        visible = np.abs(residuals[:, rank]) > LARGE * np.abs(values[:, rank])
        if visible.any():
            data.append(area(steps, values[:, rank] - residuals[:, rank], values[:, rank] + residuals[:, rank], color))
        curve = line(f"λ{rank + 1}", steps, values[:, rank], color, dash=dash(rank, CURVE_COLORS))
        done = series.converged[kept][:, rank]
        curve |= {
            "mode": "lines+markers",
            "marker": {"size": 5, "color": color, "symbol": ["circle" if one else "x" for one in done]},
        }
        data.append(curve)
    facts = [
        f"{plural(len(series), 'checkpoint')}, n = {count(series.n)}, "
        f"residuals at most {number(float(np.nanmax(series.residuals, initial=0)), 2)}"
    ]
    facts.append("curves by rank: eigenvalues that cross change curves")
    facts += filter(None, [_thinned_note("eigenvalues", len(series), len(kept))])
    if threshold is not None and np.isfinite(threshold[1]).any():
        data.append(
            line("stability threshold of the optimizer", threshold[0], threshold[1], "@warning", dash="dash", width=1.6)
        )
        facts.append("above the threshold, steps along the direction grow on a quadratic")
        known.append(threshold[1][np.isfinite(threshold[1])])
    missed = int((np.isfinite(series.values) & ~series.converged).sum())
    name = OPERATORS.get(series.operator, series.operator)
    whose = f" along {series.run}" if series.run else ""
    moves = [cursor_move(0, steps), words_move(steps, [_spectrum_words(series, int(at)) for at in kept])]
    first, last = values[0][np.isfinite(values[0])], values[-1][np.isfinite(values[-1])]
    words = f"Eigenvalues of the {name}{whose} over the steps; "
    words += f"the first begins at {_first(first)} and ends at {_first(last)}."
    logarithmic = is_spread(np.concatenate(known), 30)
    layout = _over_steps(
        value_axis("λ (loss per parameter²)", logarithmic, **({} if logarithmic else {"zeroline": True}))
    )
    warnings = [f"{plural(missed, 'eigenvalue')} NOT CONVERGED to the residual asked for (crosses)"] if missed else []
    return Panel(f"Eigenvalues{whose}", words, data, layout, moves, facts, warnings)


def pairs_panel(pairs: EigenPairs, name: str) -> Panel:
    """The eigenvalues at one place, by rank, with their residuals."""
    values, done = np.asarray(pairs.values, float), np.asarray(pairs.converged, bool)
    ranks = np.arange(1, len(values) + 1)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "eigenvalues",
            "showlegend": False,
            "x": plain(ranks),
            "y": plain(values),
            "error_y": {
                "type": "data",
                "array": plain(pairs.residuals),
                "color": "@curve-0",
                "thickness": 1.5,
                "width": 4,
            },
            "marker": {
                "size": 8,
                "color": ["@curve-0" if one else "@warning" for one in done],
                "symbol": ["circle" if one else "x" for one in done],
            },
            "customdata": plain(pairs.residuals),
            "hovertemplate": "λ%{x} = %{y:.6g}<br>residual %{customdata:.2g}<extra></extra>",
        }
    ]
    operator = OPERATORS.get(pairs.operator, pairs.operator)
    logarithmic = is_spread(values, 30)
    layout = {
        "xaxis": axis(f"rank ({pairs.which})", dtick=max(1, len(values) // 10)),
        "yaxis": value_axis("λ (loss per parameter²)", logarithmic),
        "showlegend": False,
    }
    largest = number(float(np.max(pairs.residuals, initial=0)), 2)
    facts = [
        f"{name}: {plural(len(pairs), 'pair')} of the {operator}, n = {count(pairs.n)}, "
        f"an eigenvalue lies within the residual of each, at most {largest}"
    ]
    missed = int((~done).sum())
    warnings = (
        [f"{plural(missed, 'pair')} NOT CONVERGED to the residual asked for ({number(pairs.tol, 2)} · |λ|)"]
        if missed
        else []
    )
    shown = ", ".join(number(float(value)) for value in values[:12])
    words = f"Eigenvalues by rank: {shown}{', …' if len(values) > 12 else ''}."
    return Panel("Eigenvalues at one point", words, data, layout, [], facts, warnings)


def stability_panel(record: Stability, name: str) -> Panel:
    """Sharpness and threshold as a monitor saw them while training."""
    kept = thinned(len(record), CHECKPOINTS)
    steps, sharp, bound = record.steps[kept], record.sharpness[kept], record.threshold[kept]
    residuals = record.residuals[kept]
    data = [
        area(steps, sharp - residuals, sharp + residuals, "@curve-0"),
        {
            **line("sharpness", steps, sharp, "@curve-0"),
            "mode": "lines+markers",
            "marker": {"size": 4, "color": "@curve-0"},
        },
        line("stability threshold", steps, bound, "@warning", dash="dash", width=1.6),
    ]
    words = [
        f"step {count(int(step))}: sharpness {number(float(value), 4)} ± {number(float(off), 1)}, "
        f"threshold {number(float(limit), 4)}"
        for step, value, off, limit in zip(steps, sharp, residuals, bound, strict=True)
    ]
    facts = [f"{name}: {record.optimizer}, threshold {record.rule}", "band: within the residual there is an eigenvalue"]
    facts += filter(None, [_thinned_note("sharpness", len(record), len(kept))])
    above = int((record.sharpness > record.threshold).sum())
    warnings = [f"above the threshold at {count(above)} of {plural(len(record), 'measurement')}"] if above else []
    layout = _over_steps(value_axis("sharpness", is_spread(np.concatenate([sharp, bound]), 30)))
    text = f"Sharpness beside the stability threshold over {plural(len(record), 'measurement')}; {words[-1]}."
    return Panel(
        "Sharpness while training",
        text,
        data,
        layout,
        [cursor_move(0, steps), words_move(steps, words)],
        facts,
        warnings,
    )


def _over_steps(vertical: dict[str, Any]) -> dict[str, Any]:
    return {"xaxis": axis("step"), "yaxis": vertical, "shapes": [cursor()], "showlegend": False}


def _told(run: RecordedRun, paths: Sequence[PathOnSurface]) -> bool:
    """Whether the recorded losses are the true ones of a path, to a thousandth."""
    for path in paths:
        if path.name == run.name and np.array_equal(path.steps, run.steps):
            return bool(np.allclose(path.loss, run.losses, rtol=1e-3, atol=0, equal_nan=True))
    return False


def _same_losses(path: PathOnSurface, other: PathOnSurface) -> bool:
    return (
        path.name == other.name
        and np.array_equal(path.steps, other.steps)
        and np.array_equal(path.loss, other.loss, equal_nan=True)
    )


def _thinned_note(name: str, length: int, kept: int) -> str:
    return f"{name}: drawn at {count(kept)} of {count(length)} checkpoints" if kept < length else ""


def _first(values: Array) -> str:
    return number(float(values[0])) if len(values) else "nothing"


def _spectrum_words(series: EigenSeries, at: int) -> str:
    shown = [
        f"{number(float(value), 4)}{'' if done else ' (not converged)'}"
        for value, done in zip(series.values[at][:5], series.converged[at][:5], strict=True)
        if np.isfinite(value)
    ]
    more = ", …" if series.values.shape[1] > 5 else ""
    whose = f"{series.run}, " if series.run else ""
    return f"{whose}step {count(int(series.steps[at]))}: λ = {', '.join(shown) or 'none'}{more}"
