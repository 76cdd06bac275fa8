"""`landscape report FILES`: one page that shows results together, to be opened in any browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

MARK = b'<meta name="generator" content="landscape">'  # of every page that was written here


def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILES...",
            help="Results of any kind (.h5) and recorded runs; those of other networks get a section.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.html", help="The page. Default: report.html")
    ] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Of the page. Default: the objective")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another file there.")] = False,
) -> int:
    """Show surfaces, densities, eigenvalues, profiles and losses on one page, with a slider through the training.

    The page is a single file that loads nothing: it opens from a disk, in a mail, on a phone. The same files give the
    same bytes.
    """
    from landscape._load import load
    from landscape.errors import InputError
    from landscape.render.formats import write_whole
    from landscape.render.report_page import page
    from landscape.store import check_writable

    chosen = _without_duplicates(files or [])
    if not chosen:
        raise InputError("no result is given: landscape report surface.h5 spectrum.h5 run.h5 -o report.html")
    check_writable(output)
    if any(output.exists() and output.samefile(file) for file in chosen if file.exists()):
        raise InputError(f"{output} is one of the results: give the page another name with --output")
    records = [load(file) for file in chosen]
    content = page(records, output, labels=_labels(chosen), title=title or _title(records))
    if output.is_file() and output.read_bytes() == content:
        print(f"already complete: {output} shows these very results")
        return 0
    if output.exists() and not overwrite:
        what = "a page of other results" if MARK in output.read_bytes() else "something else"
        raise InputError(f"{output} is {what}; choose another --output, or pass --overwrite to replace it")
    write_whole("report", output, content)
    _say(output, records)
    return 0


def _without_duplicates(files: Sequence[Path]) -> list[Path]:
    """Each file once, in the given order."""
    found: dict[Path, Path] = {}
    for file in files:
        if file.resolve() in found:
            print(f"landscape report: {file} is given twice and shown once", flush=True)
        found.setdefault(file.resolve(), file)
    return list(found.values())


def _labels(files: Sequence[Path]) -> list[str]:
    """Names of the files, with their folders where names are equal."""
    names = [file.name for file in files]
    return [file.name if names.count(file.name) == 1 else str(file) for file in files]


def _title(records: Sequence[Any]) -> str | None:
    """What the results were computed of, as far as they say the same of it."""
    found = set()
    for record in records:
        told = record.provenance
        source = told.get("asked", {}).get("objective") or told.get("objective")
        if source:
            found.add(str(source).removeprefix("zoo:"))
    return found.pop() if len(found) == 1 else None


def _say(page: Path, records: Sequence[Any]) -> None:
    sizes = sorted({int(record.n) for record in records if getattr(record, "n", 0)})
    networks = f" of networks of {', '.join(map(str, sizes))} parameters, a section each" if len(sizes) > 1 else ""
    count = f"{len(records)} result{'s' if len(records) > 1 else ''}"
    print(f"report  {count}{networks}, {page.stat().st_size / 1e6:.3g} MB")
    print(f"result  {page}    to look at it: any browser", flush=True)
