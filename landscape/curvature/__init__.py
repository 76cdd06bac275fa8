"""Curvature operators at one theta: Hessian, Gauss-Newton, empirical Fisher, gradient covariance; and their algebra."""

from landscape.curvature.combined import Combined
from landscape.curvature.fisher import EmpiricalFisher
from landscape.curvature.gauss_newton import GaussNewton
from landscape.curvature.gradient_covariance import GradientCovariance
from landscape.curvature.hessian import Hessian
from landscape.curvature.operator import Operator

__all__ = ["Combined", "EmpiricalFisher", "GaussNewton", "GradientCovariance", "Hessian", "Operator"]
