"""A profile: loss along a line, with the band that the choice of the data leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landscape.records.displaying import LOGARITHMIC_RANGE, is_spread
from landscape.render.numerals import count, number, plural
from landscape.render.report_page.escaping import label
from landscape.render.report_page.packing import CHECKPOINTS, plain, thinned
from landscape.render.report_page.panel import Panel, area, axis, line, value_axis

if TYPE_CHECKING:
    from landscape.records import Profile

LEVEL = 0.95


def profile_panel(profile: Profile, name: str) -> Panel:
    """The loss along the line with its 95 % band, the quadratic where it is known, and the named points."""
    kept = thinned(len(profile.s), CHECKPOINTS)
    s, loss = profile.s[kept], np.where(np.isfinite(profile.loss), profile.loss, np.nan)[kept]
    low, high = (end[kept] for end in profile.band(LEVEL))
    banded = bool(np.isfinite(low).any())
    logarithmic = is_spread(np.concatenate([loss, low[np.isfinite(low)]]), LOGARITHMIC_RANGE)
    data = [area(s, low, high, "@curve-0", f"{100 * LEVEL:g} % band")] if banded else []
    data.append(line("loss", s, loss, "@curve-0"))
    model = profile.model[kept]
    if np.isfinite(model).any():
        model = np.where(model > np.nanmax(loss) + 0.1 * np.ptp(loss[np.isfinite(loss)]), np.nan, model)
        data.append(line("quadratic model", s, model, "@curve-1", dash="dash", width=1.5))
    if len(profile.anchor_names):
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": plain(profile.anchor_s),
                "y": plain(profile.anchor_loss),
                "text": [label(one) for one in profile.anchor_names],
                "textposition": "top center",
                "name": "named points",
                "marker": {"symbol": "diamond", "size": 8, "color": "@ink"},
                "hovertemplate": "%{text}: %{y:.6g}<extra></extra>",
            }
        )
    where, lowest = profile.lowest
    facts = [f"{name}: {plural(len(profile.s), 'point')}, n = {count(profile.n)}", profile.axis_source]
    if len(kept) < len(profile.s):
        facts.append(f"drawn at {count(len(kept))} of {plural(len(profile.s), 'point')}")
    if np.isfinite(lowest):
        facts.append(f"lowest loss {number(lowest)} at {number(where)}")
    if np.isfinite(profile.curvature):
        facts.append(f"at 0: slope {number(profile.slope, 2)}, curvature {number(profile.curvature)}")
    if banded:
        facts.append(
            f"band: the mean over all data of this kind, from {plural(len(profile.samples), 'part')} of these data"
        )
    layout = {
        "xaxis": axis(f"{profile.axis} ({profile.unit})"),
        "yaxis": value_axis("loss", logarithmic),
        "showlegend": False,
    }
    warnings = [f"{plural(profile.holes, 'point')} without a finite loss"] if profile.holes else []
    words = f"Loss along {profile.axis}, lowest {number(lowest)} at {number(where)}."
    return Panel(f"Profile along {profile.axis}", words, data, layout, [], [fact for fact in facts if fact], warnings)
