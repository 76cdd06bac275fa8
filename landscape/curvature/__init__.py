"""Curvature operators at one theta: Hessian, Gauss-Newton, empirical Fisher, gradient covariance; and their algebra."""

from landscape.curvature.blocks import BlockDiagonal, Restricted, block_diagonal, blocks_of
from landscape.curvature.combined import Combined
from landscape.curvature.fisher import EmpiricalFisher
from landscape.curvature.gauss_newton import GaussNewton
from landscape.curvature.gradient_covariance import GradientCovariance
from landscape.curvature.hessian import Hessian
from landscape.curvature.operator import Operator
from landscape.curvature.preconditioned import Preconditioned
from landscape.curvature.residual import Residual, split_product

__all__ = [
    "BlockDiagonal",
    "Combined",
    "EmpiricalFisher",
    "GaussNewton",
    "GradientCovariance",
    "Hessian",
    "Operator",
    "Preconditioned",
    "Residual",
    "Restricted",
    "block_diagonal",
    "blocks_of",
    "split_product",
]
