"""`landscape export surface.h5`: a surface and its runs for ParaView."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    surface: Annotated[Path, typer.Argument(metavar="SURFACE.h5", help="Result of landscape surface.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.vts", help="Default: the surface's name with .vts")
    ] = None,
    height: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="drawn: as in figures, right when it is opened; value: the loss itself; flat.",
        ),
    ] = "drawn",
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="A metric as height. Default: the loss")] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--no-log", help="Logarithmic heights. Default: where the range asks for it")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other files there.")] = False,
) -> int:
    """Write a surface (.vts) and its runs (.vtp) for ParaView and everything else that reads VTK files."""
    from landscape import records
    from landscape._load import load
    from landscape.errors import InputError
    from landscape.render import export as write
    from landscape.render.vtk_files import SURFACE_SUFFIX, exported
    from landscape.store import check_writable

    target = output if output is not None else surface.with_suffix(SURFACE_SUFFIX)
    found = load(surface)
    if not isinstance(found, records.Surface):
        raise InputError(f"{surface} holds no surface; landscape surface computes one")
    if target.suffix.lower() != SURFACE_SUFFIX:
        raise InputError(f"--output {target}: the name must end in {SURFACE_SUFFIX}; runs go beside it as .vtp")
    check_writable(target)
    scale = "auto" if log is None else log
    contents = exported(found, metric=metric, log=scale, height=height)
    files = [target if suffix == SURFACE_SUFFIX else target.with_suffix(suffix) for suffix in contents]
    if all(file.is_file() and file.read_bytes() == one for file, one in zip(files, contents.values(), strict=True)):
        print(f"already complete: {', '.join(map(str, files))}")
        return 0
    taken = [str(file) for file in files if file.exists()]
    if taken and not overwrite:
        raise InputError(f"there is something else at {', '.join(taken)}; choose another --output, or pass --overwrite")
    for file in write(found, target, metric=metric, log=scale, height=height):
        print(f"result  {file}, {file.stat().st_size / 1e6:.3g} MB    to look at it: paraview {file}")
    return 0
