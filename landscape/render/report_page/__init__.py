"""The report: one page that opens in any browser, shows every kind of result, and needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landscape.errors import InputError
from landscape.render.formats import write_whole

SUFFIXES = (".html", ".htm")


def report(
    records: Any,
    path: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write a page that shows results together: surfaces, densities, eigenvalues, losses, profiles, paths.

    A slider moves all figures to one moment of the training. Densities that name their step (those of ``landscape
    spectrum --checkpoint run.h5``) become one figure that moves, too. Results of different networks get a section each.
    The page holds all that it needs, its scripts and data among it, and loads nothing; most are under 6 MB, as large
    grids and long runs are drawn at fewer points, which the page then says. The same input gives the same bytes.

    Parameters
    ----------
    records : record, recorded run, or sequence of them
        Surface, SpectralDensity, DensitySeries, EigenPairs, EigenSeries, Profile, Stability, PathProfile,
        Connectivity, Trajectory.
    path : path
        Where to write the page: .html.
    labels : sequence of str, optional
        What the page calls each of them. Default: its kind, numbered.
    title : str, optional
        Of the page.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        Nothing to show, something that is no result, a wrong number of labels, another suffix, or plotly is missing.

    Examples
    --------
    >>> import numpy as np, landscape as ls
    >>> bowl = ls.Surface(x=np.arange(3.0), y=np.arange(3.0), loss=np.add.outer(np.arange(3.0), np.arange(3.0)))
    >>> report([bowl], "bowl.html").name
    'bowl.html'
    """
    return write_whole("report", path, page(records, path, labels=labels, title=title))


def page(
    records: Any, path: str | os.PathLike[str], *, labels: Sequence[str] | None = None, title: str | None = None
) -> bytes:
    """What :func:`report` writes.

    Raises
    ------
    InputError
        As there.
    """
    from landscape.render.report_page.document import document
    from landscape.render.report_page.sections import is_run, sections

    single = not isinstance(records, (list, tuple)) or is_run(records)
    shown = [records] if single else list(records)
    if not shown:
        raise InputError("there is nothing to report: the list of results is empty")
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write the report {target}: the name must end in {' or '.join(SUFFIXES)}")
    if labels is not None and len(labels) != len(shown):
        raise InputError(f"{len(labels)} labels for {len(shown)} results; give one label for each")
    names = list(labels) if labels is not None else _default_labels(shown)
    return document(sections(shown, names), title or "Landscape").encode()


def _default_labels(records: Sequence[Any]) -> list[str]:
    from landscape.render.report_page.tables import name_of

    names = [name_of(record) for record in records]
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(f"{name} {seen[name]}" if names.count(name) > 1 else name)
    return result
