"""A recorded training run in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from landscape.trajectory import Trajectory


def trajectory_in_words(run: Trajectory) -> list[str]:
    """Lines that state what was recorded, and whether the recording came to its end."""
    last = run[-1]
    kept = ["theta", *(["buffers"] if last.buffers else [])]
    kept += [words for words, there in _moments(run).items() if there]
    size = sum(path.stat().st_size for path in run.files)
    rows = [
        ("run", run.name),
        ("optimizer", optimizer_in_words(run)),
        ("parameters", f"{run.n} in {len(run.names)} tensors, {run.names[0]} to {run.names[-1]}"),
        ("checkpoints", checkpoints_in_words(run)),
        ("loss", losses_in_words(run)),
        ("learning rate", _from_to(run.learning_rates)),
        ("exact zeros", zeros_in_words(run)),
        ("each holds", ", ".join(kept)),
        ("objective", objective_in_words(run)),
        ("size", f"{size / 1e6:.3g} MB in {len(run.files)} file{'s' if len(run.files) > 1 else ''}"),
        (
            "recording",
            "complete" if run.complete else f"UNFINISHED: cut off after step {last.step}, up to which it is whole",
        ),
    ]
    return [f"  {name:<20} {text}" for name, text in rows if text]


def optimizer_in_words(run: Trajectory) -> str:
    """Class and hyper-parameters that are set."""
    if not run.optimizer:
        return "not recorded"
    defaults = run.optimizer.get("defaults", {})
    told = {name: value for name, value in defaults.items() if name != "param_names" and value not in (None, False)}
    settings = [f"{name}={value}" for name, value in told.items()]
    groups = run.optimizer.get("groups", ())
    return f"{run.optimizer['class']}({', '.join(settings)})" + (f", {len(groups)} groups" if groups else "")


def checkpoints_in_words(run: Trajectory) -> str:
    """How many, of which steps."""
    if len(run) == 1:
        return f"1, of step {run.steps[0]}"
    interval = "" if run.every == 1 else f", kept every {run.every}"
    return f"{len(run)}, of steps {run.steps[0]} to {run.steps[-1]}{interval}"


def losses_in_words(run: Trajectory) -> str:
    """First, last and lowest loss that were recorded."""
    known = np.flatnonzero(np.isfinite(run.losses))
    if len(known) == 0:
        return "not recorded"
    first, last = known[0], known[-1]
    lowest = known[np.argmin(run.losses[known])]
    text = f"{run.losses[first]:.6g} at step {run.steps[first]}, {run.losses[last]:.6g} at step {run.steps[last]}"
    if lowest not in (first, last):
        text += f", lowest {run.losses[lowest]:.6g} at step {run.steps[lowest]}"
    infinite = len(run) - len(known) - int(first)
    return text + (f"; {infinite} later ones are not finite" if infinite else "")


def zeros_in_words(run: Trajectory) -> str:
    """Share of the last theta that is exactly zero; nothing if none is."""
    zeros = run.n - int(np.count_nonzero(run[-1].theta))
    return f"{100 * zeros / run.n:.3g} % of theta at step {run.steps[-1]} ({zeros} of {run.n})" if zeros else ""


def objective_in_words(run: Trajectory) -> str:
    """What was minimized, where the run remembers it."""
    source = run.provenance.get("objective")
    arguments = run.provenance.get("set") or {}
    return " ".join([str(source), *(f"--set {name}={value!r}" for name, value in arguments.items())]) if source else ""


def _moments(run: Trajectory) -> dict[str, bool]:
    last = run[-1]
    return {"momentum": last.momentum is not None, "second moment": last.second_moment is not None}


def _from_to(rates: np.ndarray) -> str:
    known = rates[np.isfinite(rates)]
    if len(known) == 0:
        return ""
    if known.min() == known.max():
        return f"{known[0]:.6g}"
    return f"{known[0]:.6g} to {known[-1]:.6g} (between {known.min():.3g} and {known.max():.3g})"
