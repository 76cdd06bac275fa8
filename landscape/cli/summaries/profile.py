"""The loss along a line in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landscape.cli.summaries.lines import STATISTICS, aligned, range_in_words

if TYPE_CHECKING:
    from landscape.records import Profile


def profile_in_words(profile: Profile) -> list[str]:
    """Lines that state where the line lies, its lowest point, its shape at the origin, and the band."""
    s, lowest = profile.lowest
    ends = f"{profile.s[0]:.4g} to {profile.s[-1]:.4g} ({profile.unit})"
    rows = [
        ("line", f"{profile.axis}: {profile.axis_source}" if profile.axis_source else profile.axis),
        ("points", f"{len(profile.s)}, {ends}"),
        ("lowest", f"{lowest:.6g} at {s:.4g}" if np.isfinite(lowest) else "no point has a finite loss"),
        ("at 0", _shape_in_words(profile)),
        ("band", _band_in_words(profile)),
        ("holes", f"{profile.holes} points have no finite loss" if profile.holes else ""),
        *(
            (f"loss at {name}", f"{loss:.6g} at {place:.4g}")
            for name, place, loss in zip(profile.anchor_names, profile.anchor_s, profile.anchor_loss, strict=True)
        ),
        *((name, range_in_words(values)) for name, values in profile.metrics.items()),
        ("batch norm", STATISTICS.get(profile.batchnorm, "")),
        ("cost", f"loss at {profile.evaluations} points in {profile.seconds:.3g} s"),
    ]
    return aligned(rows)


def _shape_in_words(profile: Profile) -> str:
    if not np.isfinite([profile.slope, profile.curvature]).all():
        return ""
    return f"slope {profile.slope:.4g}, curvature {profile.curvature:.4g} loss per unit²"


def _band_in_words(profile: Profile) -> str:
    errors = profile.standard_error
    if not np.isfinite(errors).any():
        return ""
    parts = profile.provenance.get("parts", "parts of the data")
    worst = float(np.nanmax(errors / np.abs(profile.loss)))
    return (
        f"standard error of the mean at most {worst:.2g} of the loss, from {len(profile.samples)} {parts}; Student's "
        "interval at each point by itself"
    )
