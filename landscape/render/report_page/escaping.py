"""Text of a file becomes text of the page, never markup: for HTML, for Plotly's labels, for the data of the script."""

from __future__ import annotations

import html
import json
import re
from typing import Any

# What HTML has no characters for, and what turns the direction of the text behind it; a file may hold them.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_FOREIGN = re.compile(r"[^\x00-\x7e]")


def cleaned(text: object) -> str:
    r"""Text without characters that a page cannot hold or that act on what follows.

    Examples
    --------
    >>> cleaned("a\x00 \u202eb")
    'a� �b'
    """
    return _CONTROL.sub("\ufffd", str(text))


def markup(text: object) -> str:
    r"""Text for HTML, between tags or in a quoted attribute.

    Examples
    --------
    >>> markup('<b>"&\x00')
    '&lt;b&gt;&quot;&amp;�'
    """
    return html.escape(cleaned(text), quote=True)


def label(text: object) -> str:
    r"""Text for Plotly's titles, names and hover boxes, which know some tags and entities; one line.

    Examples
    --------
    >>> label("a <b>\n&lt;")
    'a &lt;b&gt; &amp;lt;'
    """
    line = " ".join(cleaned(text).split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def data(value: Any) -> str:
    r"""JSON that can stand inside of a script element: nothing in it ends the element or opens a comment.

    Examples
    --------
    >>> data(["</script>", "<!--", "\u2028"])
    '["\\u003c/script\\u003e","\\u003c!--","\\u2028"]'
    """
    text = cleaned(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    text = _FOREIGN.sub(lambda found: json.dumps(found[0])[1:-1], text)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def program(text: str) -> str:
    """A script for a script element: with line ends as the browser sees them, and without the element's end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")
