"""Lanczos and what follows from it: pure linear algebra on row shards, which knows no network."""

from landscape.krylov.complement import Outside, outside_rule
from landscape.krylov.deflation import Deflation, deflate, peaked, resolved_pairs
from landscape.krylov.lanczos import Lanczos
from landscape.krylov.orthogonalization import Basis
from landscape.krylov.probe import gaussian
from landscape.krylov.quadrature import Quadrature, anti_gauss, gauss
from landscape.krylov.restarting import RestartedLanczos
from landscape.krylov.ritz import WHICH
from landscape.krylov.smoothing import smooth_counts, spread_out
from landscape.krylov.storage import MODES, Memory, Needs, needs

__all__ = [
    "Basis",
    "Deflation",
    "Lanczos",
    "MODES",
    "Memory",
    "Needs",
    "Outside",
    "Quadrature",
    "RestartedLanczos",
    "WHICH",
    "anti_gauss",
    "deflate",
    "gauss",
    "gaussian",
    "needs",
    "outside_rule",
    "peaked",
    "resolved_pairs",
    "smooth_counts",
    "spread_out",
]
