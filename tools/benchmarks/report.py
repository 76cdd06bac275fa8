"""Write measured ratios with the environment they were measured in, and print them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import landscape


def summary(ratios: list[float]) -> dict[str, Any]:
    """Median and extremes of ratios that were measured side by side."""
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "repeats": len(ratios)}


def pin(core: int) -> None:
    """Keep this process on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def only() -> str:
    """What --only names, a part of a benchmark that is measured again; "" for all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    return str(parser.parse_known_args()[0].only)


def write(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and write them to the file of --output, by default results/NAME.json.

    With --only they replace those of the same names in that file, which must be of the same environment.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results") / f"{name}.json")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    output = asked.output
    environment = {
        "landscape": landscape.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    kept: dict[str, Any] = {}
    if asked.only:
        before = json.loads(output.read_text())
        if before["environment"] != environment:
            raise SystemExit(f"{output} was measured in another environment; measure all of it again, without --only")
        kept = before["figures"]
    content = {"benchmark": name, "environment": environment, "figures": {**kept, **figures}}
    output.write_text(json.dumps(content, indent=1) + "\n")
    for what, figure in figures.items():
        print(f"{what:<44} {figure['median']:.2f}   ({figure['least']:.2f} to {figure['most']:.2f})")
    print(f"written to {output}")


def processor() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
