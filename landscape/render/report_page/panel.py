"""One panel of the page: a figure for Plotly, what moves in it, and what is said below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape.render.report_page.escaping import cleaned, label
from landscape.render.report_page.packing import plain

# Colours that begin with @ are properties of page.css, which knows both themes.
RUN_COLORS = 5
CURVE_COLORS = 7
TITLE = 56  # characters of an axis' title
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass
class Panel:
    """A figure with its words.

    Attributes
    ----------
    title : str
    alternative : str
        The figure in words, for those who cannot see it.
    data, layout
        Of Plotly, as plain dictionaries; page.js adds fonts, colours and margins.
    moves : list of dict
        What follows the time slider: page.js explains the kinds.
    facts, warnings : lists of str
        Below the figure; a warning says what must not be overlooked.
    size : str
        "tall" for maps, "" for curves.
    space : bool
        Whether it is three-dimensional.
    choices : list of dict
        What else the first trace may show: "name" and "changes".
    full : dict
        What the names that were cut are in full.
    """

    title: str
    alternative: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    moves: list[dict[str, Any]] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    size: str = ""
    space: bool = False
    choices: list[dict[str, Any]] = field(default_factory=list)
    full: Mapping[str, str] = field(default_factory=dict)

    def in_full(self, text: str) -> str:
        """A text of the panel with the names in full."""
        for short, name in self.full.items():
            text = text.replace(short, name)
        return text

    def content(self) -> dict[str, Any]:
        """What page.js needs."""
        return {
            "data": self.data,
            "layout": self.layout,
            "legend": self.legend(),
            "moves": self.moves,
            "space": self.space,
            "choices": [choice["changes"] for choice in self.choices],
        }

    def legend(self) -> list[dict[str, Any]]:
        """What is what: page.js makes it of text, so that it wraps and can be reached with the keyboard."""
        entries: dict[str, dict[str, Any]] = {}
        for index, trace in enumerate(self.data):
            group = str(trace.get("legendgroup", index))
            if trace.get("name") and trace.get("showlegend", True):
                look = trace.get("line", {})
                kind = "area" if "fill" in trace else "line" if "lines" in trace.get("mode", "") else "marker"
                color = look.get("color") if kind != "marker" else trace.get("marker", {}).get("color", "@ink")
                color = trace.get("legendcolor", color)  # where the line's own is for the ground of a map
                entries.setdefault(
                    f"{group}/{trace['name']}",
                    {
                        "name": unescape(trace["name"]),
                        "full": self.in_full(unescape(trace["name"])),
                        "kind": kind,
                        "color": color if isinstance(color, str) else "@ink",
                        "dash": look.get("dash", "solid"),
                        "group": group,
                        "traces": [],
                    },
                )
        for index, trace in enumerate(self.data):
            group = str(trace.get("legendgroup", index))
            own = [entry for entry in entries.values() if entry["group"] == group]
            named = [entry for entry in own if entry["name"] == unescape(trace.get("name", ""))] or own[:1]
            for entry in named:
                entry["traces"].append(index)
        return list(entries.values())


def run_color(index: int) -> str:
    """Colour of a run in curves."""
    return f"@run-{index % RUN_COLORS}"


def dash(index: int, colors: int = RUN_COLORS) -> str:
    """Line style that tells apart what has the same colour."""
    return DASHES[index // colors % len(DASHES)]


def axis(title: str, **others: Any) -> dict[str, Any]:
    """An axis with a title that may come from a file; it cannot wrap, so that the end of a long one is left out."""
    shown = title if len(title) <= TITLE else f"{title[: TITLE - 1]}…"
    return {"title": {"text": label(shown)}, **others}


def cursor(horizontal: bool = False) -> dict[str, Any]:
    """The line that stands at the time of the slider, as a shape."""
    along, across = ("y", "x") if horizontal else ("x", "y")
    return {
        "type": "line",
        "layer": "above",
        f"{across}ref": "paper",
        f"{across}0": 0,
        f"{across}1": 1,
        f"{along}0": 0,
        f"{along}1": 0,
        "line": {"color": "@cursor", "width": 1.5},
    }


def cursor_move(shape: int, steps: NDArray[np.int64], axis: str = "x") -> dict[str, Any]:
    """The cursor follows the slider."""
    return {"kind": "cursor", "shape": shape, "axis": axis, "steps": plain(steps)}


def words_move(steps: NDArray[np.int64], texts: Sequence[str]) -> dict[str, Any]:
    """A line of text below the panel that belongs to the last of these steps that has passed."""
    return {"kind": "words", "steps": plain(steps), "texts": [cleaned(text) for text in texts]}


def value_axis(title: str, logarithmic: bool, **others: Any) -> dict[str, Any]:
    """A vertical axis, logarithmic or not, which its title says."""
    if logarithmic:
        return axis(f"{title} (log)", type="log", **others)
    return axis(title, **others)


def line(name: str, x: ArrayLike, y: ArrayLike, color: str, **others: Any) -> dict[str, Any]:
    """A curve; its hover box shows its name, which may come from a file, and its place."""
    look: dict[str, Any] = {"color": color, "width": others.pop("width", 2)}
    if "dash" in others:
        look["dash"] = others.pop("dash")
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(name),
        "meta": [label(name)],
        "x": plain(x),
        "y": plain(y),
        "line": look,
        "hovertemplate": "%{meta[0]}<br>%{x:.6g}: %{y:.6g}<extra></extra>",
        **others,
    }


def area(x: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, name: str = "") -> dict[str, Any]:
    """A band between two curves."""
    around = np.concatenate([np.asarray(x, float), np.asarray(x, float)[::-1]])
    ends = np.concatenate([np.asarray(low, float), np.asarray(high, float)[::-1]])
    keep = np.isfinite(ends)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": plain(around[keep]),
        "y": plain(ends[keep]),
        "fill": "toself",
        "fillcolor": f"{color}-soft",
        "line": {"width": 0, "color": color},
        "hoverinfo": "skip",
        "name": label(name),
        "showlegend": bool(name),
    }
