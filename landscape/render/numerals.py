"""Numbers as they are printed: a true minus sign, powers of ten, thin spaces between thousands."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3, *, zeros: bool = False) -> str:
    """A number with so many significant digits; of one that changes, zeros at the end may stay, so that it is as wide.

    Examples
    --------
    >>> number(-0.12345), number(1e-6), number(2.5e7)
    ('−0.123', '10⁻⁶', '2.5·10⁷')
    >>> number(0.69997), number(0.69997, zeros=True)
    ('0.7', '0.700')
    """
    text = f"{value:{'#' if zeros else ''}.{digits}g}".removesuffix(".").replace("-", "−")
    if "e" in text:
        mantissa, exponent = text.split("e")
        power = str(int(exponent.replace("−", "-"))).translate(POWERS)
        sign, mantissa = ("−", mantissa[1:]) if mantissa.startswith("−") else ("", mantissa)
        text = f"{sign}10{power}" if mantissa == "1" else f"{sign}{mantissa}·10{power}"
    return text


def numbers(values: Iterable[float]) -> list[str]:
    """Numbers of one axis, with as few digits as tell them apart.

    Examples
    --------
    >>> numbers([2.5, 2.50001])
    ['2.5', '2.50001']
    """
    values = list(values)
    distinct = len(set(values))
    # What is left of 3 · 0.1 − 0.3 is not a digit.
    zero = 1e-6 * float(np.diff(np.unique(values)).min(initial=np.inf))
    values = [0.0 if abs(value) < zero < np.inf else value for value in values]
    texts = [number(value) for value in values]
    for digits in range(3, 13):
        texts = [number(value, digits) for value in values]
        exact = all(np.isclose(float(f"{value:.{digits}g}"), value, rtol=1e-9, atol=0) for value in values)
        if exact and len(set(texts)) == distinct:
            break
    return texts


def uncertain(value: float, reach: float) -> str:
    """A value and how far its interval reaches to both sides, both to the second digit of the reach.

    Examples
    --------
    >>> uncertain(0.52345, 0.0312), uncertain(123.4, 25.0), uncertain(0.5, float("nan"))
    ('0.523 ± 0.031', '123 ± 25', '0.5')
    """
    if not (np.isfinite(reach) and reach > 0):
        return number(value)
    digits = 1 - int(np.floor(np.log10(reach)))
    if 0 <= digits <= 5 and abs(value) < 1e6:
        return f"{value:.{digits}f} ± {reach:.{digits}f}".replace("-", "−")
    exact = max(1, min(12, digits + 1 + int(np.floor(np.log10(max(abs(value), reach))))))
    return f"{number(value, exact)} ± {number(reach, 2)}"


def count(value: int) -> str:
    """A whole number with thin spaces between thousands.

    Examples
    --------
    >>> count(1234567) == "1 234 567"
    True
    """
    return f"{value:,}".replace(",", "\u202f").replace("-", "−")


def plural(value: int, word: str) -> str:
    """A whole number of things.

    Examples
    --------
    >>> plural(1, "point"), plural(3, "point")
    ('1 point', '3 points')
    """
    return f"{count(value)} {word}{'' if value == 1 else 's'}"
