"""Lanczos and what follows from it: pure linear algebra on row shards, which knows no network."""

from landscape.krylov.deflation import Deflation, deflate
from landscape.krylov.lanczos import Lanczos
from landscape.krylov.orthogonalization import Basis
from landscape.krylov.probe import gaussian
from landscape.krylov.quadrature import Quadrature, anti_gauss, gauss
from landscape.krylov.restarting import RestartedLanczos
from landscape.krylov.ritz import WHICH
from landscape.krylov.smoothing import peaked, smooth_counts, spread_out
from landscape.krylov.storage import MODES, Memory, Needs, needs

__all__ = [
    "Basis",
    "Deflation",
    "Lanczos",
    "MODES",
    "Memory",
    "Needs",
    "Quadrature",
    "RestartedLanczos",
    "WHICH",
    "anti_gauss",
    "deflate",
    "gauss",
    "gaussian",
    "needs",
    "peaked",
    "smooth_counts",
    "spread_out",
]
