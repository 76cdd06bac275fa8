"""The stability of a training in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from landscape.records import Stability


def stability_in_words(record: Stability) -> list[str]:
    """Lines that state the result."""
    rows = [("optimizer", record.optimizer), ("operator", record.operator)]
    if len(record):
        highest = int(np.argmax(record.ratio))
        rows += [
            ("measurements", f"{len(record)}, at steps {record.steps[0]} to {record.steps[-1]}"),
            ("last sharpness", f"{record.sharpness[-1]:.6g} ± {record.residuals[-1]:.2g}"),
            ("last threshold", f"{record.threshold[-1]:.6g}, {record.rule}"),
            ("sharpness/threshold", f"{record.ratio[-1]:.3g} at the last one, at most {record.ratio[highest]:.3g} "
             f"(step {record.steps[highest]})"),
            ("gradient", f"{100 * record.gradient_share[-1]:.3g} % of its squared length along the sharpest direction"),
        ]  # fmt: skip
    rows.append(("cost", f"{record.products} products, {record.seconds:.3g} s, {100 * record.overhead:.2g} % overhead"))
    return [f"  {name:<20} {text}" for name, text in rows]
