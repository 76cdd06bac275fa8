"""What a record says of itself beside its curves: numbers, configuration and provenance, as collapsible tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from landscape.render.report_page.escaping import markup

# Class of a record → what it is.
NAMES = {
    "SpectralDensity": "eigenvalue density",
    "DensitySeries": "eigenvalue densities along a run",
    "EigenPairs": "eigenpairs",
    "EigenSeries": "eigenvalues along a run",
    "Surface": "loss surface",
    "Profile": "loss along a line",
    "Stability": "sharpness while training",
    "PathProfile": "path between two minima",
    "Connectivity": "barriers between minima",
}
RUN = ("name", "n", "every", "complete", "optimizer", "provenance")
LONGEST = 2000  # characters of one value
ROWS = 400  # of one table


def name_of(record: Any) -> str:
    """What a record is, in words."""
    return NAMES.get(type(record).__name__, "recorded run")


def table(record: Any, title: str) -> str:
    """All plain values of a record, in HTML."""
    result, provenance = [], []
    for name, value in _fields(record):
        if name == "provenance":
            provenance = list(_rows("", value))
        elif isinstance(value, Mapping):
            result += [row for row in _rows(name, value) if row[1] != ""]
        elif isinstance(value, np.ndarray):
            shape = " × ".join(map(str, value.shape))
            if value.size and value.ndim:
                result.append(
                    (_words(name), f"{shape} numbers" if value.dtype.kind in "fiub" else _text(value.tolist()))
                )
        else:
            result.append((_words(name), _text(value)))
    parts = [f"<details><summary><b>{markup(title)}</b> <span>{markup(name_of(record))}</span></summary>"]
    parts.append(_html("Result", result))
    parts.append(_html("Configuration and provenance", provenance))
    parts.append("</details>")
    return "\n".join(part for part in parts if part)


def _fields(record: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(record):
        for one in dataclasses.fields(record):
            yield one.name, getattr(record, one.name)
        return
    yield "checkpoints", len(record.steps)
    for name in RUN:
        if hasattr(record, name):
            yield name, getattr(record, name)


def _rows(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix} · {_words(key)}" if prefix else _words(key)
        if isinstance(value, Mapping) and value:
            yield from _rows(name, value)
        elif isinstance(value, np.ndarray):
            yield name, f"{' × '.join(map(str, value.shape))} numbers"
        else:
            yield name, _text(value)


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or value in ({}, []):
        return "none"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _html(caption: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    more = f"<tr><td colspan=2>… {len(rows) - ROWS} more in the file</td></tr>" if len(rows) > ROWS else ""
    body = "\n".join(
        f'<tr><th scope="row">{markup(name)}</th><td>{markup(value)}</td></tr>' for name, value in rows[:ROWS]
    )
    return f"<table><caption>{markup(caption)}</caption><tbody>\n{body}{more}</tbody></table>"
