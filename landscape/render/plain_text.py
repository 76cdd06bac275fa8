"""Text from files as one line of letters that the font has: names may hold anything."""

from __future__ import annotations

import unicodedata
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font

UNKNOWN = "\ufffd"  # what stands for a letter that the font does not have


def plain(text: str, family: str) -> str:
    r"""One line without control characters, and with a sign for each letter that the font does not have.

    Parameters
    ----------
    text : str
    family : str
        Of the font.

    Examples
    --------
    >>> plain("two\nlines \x07", "DejaVu Sans")
    'two lines '
    """
    if text.isascii() and text.isprintable():
        return text
    known = _letters(family)
    # Controls go, and so do marks that have no look of their own: joiners, directions, selectors.
    letters = (
        " " if _ends_a_line(letter) else letter for letter in text if _ends_a_line(letter) or _has_a_look(letter)
    )
    return "".join(letter if ord(letter) in known else UNKNOWN for letter in letters)


def _ends_a_line(letter: str) -> bool:
    return letter.isspace() and unicodedata.category(letter) != "Zs"


def _has_a_look(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs") and not 0xFE00 <= ord(letter) <= 0xFE0F


@cache
def _letters(family: str) -> frozenset[int]:
    """What the font can draw."""
    return frozenset(get_font(findfont(FontProperties(family=family))).get_charmap()) | {0x20}
