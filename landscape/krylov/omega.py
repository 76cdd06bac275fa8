"""When to orthogonalize: how much orthogonality a Lanczos run has lost, estimated without touching its vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# What one orthogonalization leaves, in units of the rounding of one number; measured 1 to 4 for 10³ to 10⁶ rows.
LEFT_OVER = 4.0


class OmegaRecurrence:
    """Estimate of ``⟨q_j, q_k⟩`` for the newest two vectors of a Lanczos run and all k.

    Rounding enters the scalar products of the basis like a start value and then grows by the three-term recurrence
    itself (Simon, Linear Algebra Appl. 61 (1984) 101, Math. Comp. 42 (1984) 115). As long as all of them stay below the
    square root of the rounding, T is that of an exactly orthonormal basis up to rounding. Two differences from Simon:
    what a product adds is not modelled by a random number but measured, by the asymmetry of the operator; and it is
    added with the sign that makes the estimate larger.

    Parameters
    ----------
    rounding : float
        Of one number.

    Attributes
    ----------
    now, before : (j,) float64
        Estimates for the newest vector q_j and for the one before, against q_0 … q_{j-1}.
    pending : bool
        The next vector must be orthogonalized, too: it would take over what the vector before has lost.
    """

    def __init__(self, rounding: float) -> None:
        self.rounding = rounding
        self.limit = float(np.sqrt(rounding))
        self.now: Array = np.zeros(0)
        self.before: Array = np.zeros(0)
        self.pending = False

    def due(self, alpha: Sequence[float], beta: Sequence[float], noise: float) -> bool:
        """Go one step on; say whether the new vector must be orthogonalized against the whole basis.

        Parameters
        ----------
        alpha, beta : sequences of j + 1 floats
            T so far; ``beta[-1]`` is the norm by which the new vector is about to be divided.
        noise : float
            What the rounding of a product adds to a scalar product with a unit vector, in units of the eigenvalues.
        """
        j = len(alpha) - 1
        a, b = np.asarray(alpha), np.asarray(beta)
        after = np.full(j + 1, LEFT_OVER * self.rounding)
        if j > 1:
            # k = 0 … j-2: against the newest two vectors the new one is orthogonalized in every step.
            k = np.arange(j - 1)
            now, before = np.append(self.now, 1.0), self.before
            grown = b[k] * now[k + 1] + (a[k] - a[j]) * now[k] - b[j - 1] * before[k]
            grown[1:] += b[k[:-1]] * now[k[:-1]]
            added = self.rounding * (b[k] + b[j]) + noise
            after[: j - 1] = (grown + np.copysign(added, grown)) / b[j]
        self.before, self.now = self.now, after
        return self.pending or bool(np.abs(after).max() > self.limit)

    def orthogonalized(self) -> None:
        """The new vector has been orthogonalized against the whole basis."""
        # Twice in a row, and once if the vector before had lost nothing worth mentioning.
        self.pending = not self.pending
        self.now = np.full(len(self.now), LEFT_OVER * self.rounding)
