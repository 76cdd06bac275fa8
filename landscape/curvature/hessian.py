"""The Hessian of the objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from landscape._data import Batch
from landscape.curvature.double_backward import double_backward
from landscape.curvature.forward_over_reverse import forward_over_reverse
from landscape.curvature.operator import Operator
from landscape.errors import InputError
from landscape.objective import Objective

Product = Callable[[Objective, Batch, float, Tensor], Tensor]

# The one place where the way to compute a product is chosen. Double backward is the default: it supports the most
# layers and was the faster of the two on an MLP, a convolutional and a residual network (tools/bench product).
PRODUCTS: dict[str, Product] = {"double_backward": double_backward, "forward_over_reverse": forward_over_reverse}
DEFAULT_PRODUCT = "double_backward"


class Hessian(Operator):
    """The matrix of second derivatives of L at theta.

    Parameters
    ----------
    objective : Objective
    product : "auto", "double_backward" or "forward_over_reverse"
        How a product is computed; the results agree to rounding.
    """

    name = "hessian"

    def __init__(self, objective: Objective, product: str = "auto") -> None:
        super().__init__(objective)
        self.product = DEFAULT_PRODUCT if product == "auto" else product
        if self.product not in PRODUCTS:
            raise InputError(f"unknown product {product!r}; choose auto, {', '.join(PRODUCTS)}")

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times a vector, ``(n,)``."""
        return PRODUCTS[self.product](self.objective, batch, denominator, vector)

    def describe(self) -> dict[str, Any]:
        """What identifies the operator; the products differ in rounding."""
        return {**super().describe(), "product": self.product}
