"""Optimizers by name: those of torch, ours, and those of plug-in packages.

A plug-in is a subclass of ``torch.optim.Optimizer`` that a package names in its ``pyproject.toml``::

    [project.entry-points."landscape.optimizers"]
    my_optimizer = "my_package.my_module:MyOptimizer"

The names of torch's optimizers cannot be taken.
Two methods are used where a class has them: the static ``parameter_groups(model, **options)``, which returns its
parameter groups and the options that are left, and ``finalize()``, called once after the last step of a training.
"""

from landscape.optim.prox_sgd import Finalization, ProxSGD
from landscape.optim.registry import build, names

__all__ = ["Finalization", "ProxSGD", "build", "names"]
