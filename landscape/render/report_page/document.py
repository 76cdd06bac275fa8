"""The page as a file: HTML that is readable without the script, the data, the style and the scripts, all in one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from landscape.errors import InputError
from landscape.render.numerals import plural
from landscape.render.report_page.escaping import data, markup, program
from landscape.render.report_page.packing import CHECKPOINTS, shared, thinned
from landscape.render.report_page.panel import Panel
from landscape.render.report_page.sections import Section
from landscape.render.report_page.tables import name_of, table

HERE = Path(__file__).parent

PAGE = """<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="landscape">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#panels">Skip to the figures</a>
<header class="page">
<div><h1>{title}</h1><p>{summary}</p></div>
<button type="button" id="theme" aria-pressed="false">Dark theme</button>
</header>
<noscript><p class="warning">The figures need JavaScript; the tables below do not.</p></noscript>
<p id="failure" class="warning" role="alert" hidden></p>
<main id="panels">
{body}
</main>
{clock}
<footer>Made by landscape {version}. This page loads nothing from anywhere.</footer>
<script type="application/json" id="data">{data}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""

CLOCK = """<div id="clock" role="group" aria-label="Time of all figures">
<button type="button" id="play" aria-pressed="false" aria-label="Play">▶</button>
<input type="range" id="time" min="0" max="{last}" value="{last}" step="1" aria-label="Time: optimizer step">
<output id="step" for="time"></output>
</div>"""


def document(found: Sequence[Section], title: str) -> str:
    """The whole page.

    Parameters
    ----------
    found : sequence of Section
    title : str

    Raises
    ------
    InputError
        plotly is not installed, or is too old to hold its script.
    """
    from landscape import __version__

    panels = [(section, section.panels()) for section in found]
    flat = [panel for _, own in panels for panel in own]
    moments = _moments(flat)
    matrices: list[dict[str, Any]] = []
    contents = [shared(panel.content(), matrices) for panel in flat]
    library, script = program(_plotly()), program((HERE / "page.js").read_text(encoding="utf-8"))
    return PAGE.format(
        policy=_policy([library, script]),
        title=markup(title),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        summary=markup(_summary(found)),
        body=_body(panels),
        clock=CLOCK.format(last=len(moments) - 1) if len(moments) > 1 else "",
        version=markup(__version__),
        data=data({"moments": moments, "panels": contents, "matrices": matrices}),
        library=library,
        script=script,
    )


def _plotly() -> str:
    """The script of Plotly, from its package, which need not be imported for that."""
    spec = find_spec("plotly")
    path = Path(spec.origin or "").parent / "package_data" / "plotly.min.js" if spec else Path()
    if not path.is_file():
        raise InputError("the report needs the script of plotly, which is not installed: pip install 'plotly>=6'")
    return path.read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Only these scripts run, and nothing is loaded; Plotly writes styles and draws pictures from its own data."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{text}'" for text in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _moments(panels: Sequence[Panel]) -> list[int]:
    """The steps at which something moves: where the slider stops."""
    steps = sorted({int(step) for panel in panels for move in panel.moves for step in move["steps"]})
    return [steps[index] for index in thinned(len(steps), CHECKPOINTS)]


def _summary(found: Sequence[Section]) -> str:
    records = [record for section in found for record, _ in section.records]
    kinds: dict[str, int] = {}
    for record in records:
        kinds[name_of(record)] = kinds.get(name_of(record), 0) + 1
    told = ", ".join(f"{name} ({number})" if number > 1 else name for name, number in kinds.items())
    return f"{plural(len(records), 'result')}: {told}"


def _body(panels: Sequence[tuple[Section, Sequence[Panel]]]) -> str:
    parts, number = [], 0
    for section, own in panels:
        parts.append("<section>" if len(panels) > 1 or section.n else '<section class="plain">')
        parts.append(f"<h2>{markup(section.title)}</h2>")
        parts.append('<div class="grid">')
        for panel in own:
            parts.append(_panel(panel, number))
            number += 1
        parts.append("</div>")
        parts.append('<div class="tables"><h3>Files, configuration, provenance</h3>')
        parts += [table(record, name) for record, name in section.records]
        parts.append("</div></section>")
    return "\n".join(parts)


def _panel(panel: Panel, number: int) -> str:
    choice = ""
    if panel.choices:
        options = "".join(
            f'<option value="{at}">{markup(one["name"])}</option>' for at, one in enumerate(panel.choices)
        )
        choice = f'<label>Show <select class="choice">{options}</select></label>'
    live = "".join('<p class="now"></p>' for move in panel.moves if move["kind"] == "words")
    facts = "".join(f"<li>{markup(fact)}</li>" for fact in panel.facts)
    warnings = "".join(f'<p class="warning">{markup(text)}</p>' for text in panel.warnings)
    whole = panel.in_full(panel.title)
    full = f' title="{markup(whole)}"' if whole != panel.title else ""
    focus = ' tabindex="0" aria-roledescription="turnable figure"' if panel.space else ""
    return f"""<figure class="panel {panel.size}" id="panel-{number}" aria-labelledby="title-{number}">
<header><h3 id="title-{number}"{full}>{markup(panel.title)}</h3><div class="tools">{choice}\
<button type="button" class="reset" aria-label="{markup(f"Reset the view: {panel.title}")}">Reset</button>\
<button type="button" class="save" aria-label="{markup(f"Save a picture: {panel.title}")}">Save</button></div></header>
<div class="legend" role="group" aria-label="Legend: shows and hides"></div>
<div class="plot" role="img" aria-label="{markup(panel.alternative)}"{focus}></div>
<figcaption>{live}{warnings}<ul>{facts}</ul></figcaption>
</figure>"""
