"""Curvature operators at one theta: Hessian, Gauss-Newton, empirical Fisher."""

from landscape.curvature.fisher import EmpiricalFisher
from landscape.curvature.gauss_newton import GaussNewton
from landscape.curvature.hessian import Hessian
from landscape.curvature.operator import Operator

__all__ = ["EmpiricalFisher", "GaussNewton", "Hessian", "Operator"]
