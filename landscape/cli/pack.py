"""`landscape pack RUN.h5`: a recorded run and its segments in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from landscape.trajectory import Trajectory


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A recorded run (.h5) with its folder of segments.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: RUN with -packed in its name.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another file there.")] = False,
) -> int:
    """Merge a recorded run into one file, for moving or keeping it; it opens like the run."""
    from landscape.errors import InputError
    from landscape.store import check_writable
    from landscape.trajectory import Trajectory, is_trajectory

    source = Trajectory(run)
    target = output if output is not None else run.with_name(f"{run.stem}-packed{run.suffix}")
    check_writable(target)
    if target.exists() and target.samefile(run):
        raise InputError(f"{target} is the run itself: give the packed file another name with --output")
    if not overwrite and is_trajectory(target) and _same(source, Trajectory(target)):
        print(f"already complete: {target} holds this very run")
        return 0
    if target.exists() and not overwrite:
        raise InputError(f"{target} is something else; choose another --output, or pass --overwrite to replace it")
    source.pack(target, overwrite=overwrite)
    state = "" if source.complete else " (unfinished: what was recorded until the cut)"
    print(f"packed  {target}: {len(source)} checkpoints{state}, {target.stat().st_size / 1e6:.3g} MB")
    return 0


def _same(first: Trajectory, second: Trajectory) -> bool:
    return first.digest() == second.digest() and first.complete == second.complete
