"""What the page calls the runs: each by one name and one colour, told apart by their content, and never at length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from landscape.render.merging import numbered

LONGEST = 44  # characters of a name
END = 12  # of them from the end, where names often differ


def shortened(name: str) -> str:
    """A name with its middle left out, if it is long.

    Examples
    --------
    >>> shortened("SGD"), len(shortened("SGD " * 100))
    ('SGD', 44)
    """
    return name if len(name) <= LONGEST else f"{name[: LONGEST - END - 1]}…{name[-END:]}"


def short_labels(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names of which none is long and no two are equal, and what those that were cut are in full."""
    labels = numbered([shortened(name) for name in names])
    return labels, {label: name for label, name in zip(labels, names, strict=True) if len(name) > LONGEST}


class RunNames:
    """The runs that some results belong to: what has the same content is the same run, whatever it is called.

    Parameters
    ----------
    known : iterable of (name, sha256)
        Of each result, in the order of the page; "" where it is not known. Without the content, the name counts.
    """

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        given = [one for one in dict.fromkeys(known) if any(one)]
        self._runs: list[tuple[str, str]] = []
        told_by_content = {name for name, digest in given if digest}
        contents: set[str] = set()
        for name, digest in given:
            if (digest and digest not in contents) or (not digest and name not in told_by_content):
                self._runs.append((name, digest))
                contents.add(digest)
        self.labels, self.full = short_labels([name or "run" for name, _ in self._runs])

    def place(self, name: str, sha256: str = "") -> int | None:
        """Number of a run, which is also that of its colour; None if it could be several or none."""
        for index, (_, digest) in enumerate(self._runs):
            if sha256 and digest == sha256:
                return index
        named = [index for index, (other, _) in enumerate(self._runs) if other == name]
        return named[0] if len(named) == 1 else None

    def known(self, name: str) -> bool:
        """Whether there is a run of that name."""
        return any(name == other for other, _ in self._runs)

    def label(self, name: str, sha256: str = "") -> str:
        """What the page calls it."""
        place = self.place(name, sha256)
        if place is not None:
            return self.labels[place]
        return f"{shortened(name)} (not known which)" if self.known(name) else shortened(name)
