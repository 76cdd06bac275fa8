"""`landscape info FILE`: what a file of landscape holds, in words and with units; needs neither torch nor MPI."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

# Kind → its name, and what can be done with the record in Python.
KINDS = {
    "spectral_density": (
        "eigenvalue density of a curvature operator",
        "record.plot('figure.png'); record.pdf(x); record.cdf_band(x); record.eigenvalues",
    ),
    "eigen_pairs": ("eigenpairs of a curvature operator", "record.plot('figure.png'); record.values; record.vectors"),
    "eigen_series": (
        "eigenvalues along a recorded run",
        "record.plot('figure.png'); record.steps; record.values; record[-1]",
    ),
    "density_series": (
        "eigenvalue densities along a recorded run",
        "record.plot('figure.png'); record.steps; record.lambda_max; record[-1].pdf(x)",
    ),
    "surface": (
        "loss surface on a plane",
        "record.plot('figure.png'); landscape.render.relief(record, 'relief.png'); record.loss; record.paths",
    ),
    "profile": (
        "loss along a line",
        "record.plot('figure.png'); record.s; record.loss; record.band(0.95)",
    ),
    "path_profile": (
        "loss and curvature on a path between two minima",
        "record.plot('figure.png'); record.s; record.loss; record.barrier; record.densities",
    ),
    "connectivity": (
        "barriers between all pairs of several minima",
        "record.plot('figure.png'); record.barriers; record.distances; record.clusters(0.1)",
    ),
    "control_points": (
        "path between two minima",
        "path = landscape.geometry.Path.of(record); path.point(0.5); path.plane()",
    ),
    "stability": (
        "sharpness along a training, beside what its optimizer bears",
        "record.plot('figure.png'); record.steps; record.ratio",
    ),
    "trajectory": ("recorded training run", "record[-1].theta; record.losses; landscape.Plane.pca(record)"),
}

# What a half-done run of a command counts; others count products.
UNITS = {
    "surface": "points", "profile": "points", "interpolate": "points", "connectivity": "ways", "train": "steps"
}  # fmt: skip


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A result (.h5), or the folder of a half-done run.")],
) -> int:
    """Explain a result file, or how far a half-done run is."""
    from landscape.store import describe

    described = describe(file)
    lines = _half_done_run(file, described) if described["kind"] == "run_state" else _result(file, described)
    print("\n".join(lines))
    return 0


def _result(path: Path, described: dict[str, Any]) -> list[str]:
    from landscape._load import load
    from landscape.cli.summaries import in_words

    kind = described["kind"]
    name, use = KINDS.get(kind, (kind, ""))
    lines = [f"{path}: {name} (kind {kind}, file schema {described['schema_version']}, {_size(described['bytes'])})"]
    lines += ["", "Result", *(in_words(load(path)) or _tree(described["values"]))]
    lines += ["", "Arrays"] if described["arrays"] else []
    for array, facts in described["arrays"].items():
        shape = "×".join(map(str, facts["shape"])) or "scalar"
        unit = f" [{facts['unit']}]" if facts["unit"] not in ("", "1", "boolean", "index") else ""
        lines.append(f"  {array:<20} {shape} {facts['dtype']}: {facts['description'] or 'no description'}{unit}")
    for group, values in described["groups"].items():
        lines += ["", group.capitalize(), *_tree(values)] if values else []
    lines += ["", "In Python", f"  record = landscape.load({str(path)!r})", *([f"  {use}"] if use else [])]
    lines.append(f"With any HDF5 tool: h5dump -A {shlex.quote(str(path))}")
    return lines


def _half_done_run(path: Path, described: dict[str, Any]) -> list[str]:
    parts = described["parts"]
    lasts = [described["last"], *(part["last"] for part in parts.values())]
    steps = sum(int(last.get("steps", 0)) for last in lasts)
    configuration = described["configuration"]
    asked = {"classical": lambda: configuration.get("probes", 0) * configuration.get("steps", 0)}
    total = asked.get(str(configuration.get("method")), lambda: configuration.get("max_products"))()
    if "run_sha256" in configuration:  # a series: its limit is that of one checkpoint
        total = None
    unit = UNITS.get(str(configuration.get("command")), "products")
    age = _age(time.time() - described["modified"])
    lines = [
        f"{path}: half-done run ({described['segments']} segments, {_size(described['bytes'])}, written {age} ago)",
        f"  {steps} {unit} done{f' of at most {total}' if total else ''}",
        *(f"    {name}: {part['last'].get('steps', 0)} {unit}" for name, part in parts.items()),
        "  the command that began it finishes it",
        "",
        "Configuration",
        *_tree(configuration),
    ]
    return lines


def _tree(values: Mapping[str, Any], indent: str = "  ") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}", *_tree(value, indent + "  ")]
        else:
            shown = "none" if value is None or value == {} else value
            lines.append(f"{indent}{key:<{max(22 - len(indent), 1)}} {shown}")
    return lines


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
