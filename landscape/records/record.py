"""What every result can do: save itself and draw itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


class Record:
    """A result: a frozen dataclass of arrays and plain values."""

    figure: ClassVar[str]  # the function of landscape.render that draws it

    def save(self, path: str | Path, overwrite: bool = True) -> Path:
        """Write the record to an HDF5 file; :func:`landscape.load` reads it back."""
        from landscape import store

        return store.save(self, path, overwrite=overwrite)

    def plot(self, path: str | Path | None = None, **options: Any) -> Figure:
        """Draw the record; see the function of :mod:`landscape.render` that its class names in ``figure``."""
        from landscape import render

        figure: Figure = getattr(render, self.figure)(self, path, **options)
        return figure
