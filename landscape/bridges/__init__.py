"""Hooks for other frameworks: what landscape sees of a training, from inside of it.

Each framework is imported only where its bridge is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.bridges.lightning import LightningRecorder
    from landscape.bridges.tensorboard import TensorBoardHook

# Public name → where it is defined.
_PLACES = {"LightningRecorder": "lightning", "TensorBoardHook": "tensorboard"}

__all__ = ["LightningRecorder", "TensorBoardHook"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'landscape.bridges' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"landscape.bridges.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
