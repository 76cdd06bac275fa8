"""Everything a training loop must know to go on with the same bits, as arrays and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape.errors import InputError

Arrays = dict[str, NDArray[Any]]


def trainer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Arrays, dict[str, Any]]:
    """Parameters, buffers, the optimizer's state and torch's random state.

    Returns
    -------
    arrays : dict
    values : dict
        Plain values that refer to the arrays.

    Raises
    ------
    InputError
        The optimizer keeps something that only a pickle could store.
    """
    arrays: Arrays = {}
    content: dict[str, Any] = {
        "parameters": dict(model.named_parameters()),
        "buffers": dict(model.named_buffers()),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    device = next(model.parameters()).device
    if device.type == "cuda":
        content["device_random"] = torch.cuda.get_rng_state(device)
    try:
        return arrays, {"content": _packed(content, arrays)}
    except TypeError as error:
        raise InputError(
            f"the state of {type(optimizer).__name__} cannot be saved, since it holds {error}; train without saving "
            "it: checkpoint_seconds=float('inf')"
        ) from error


@torch.no_grad()
def restore(arrays: Arrays, values: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give a model, its optimizer and torch's random generators the state that :func:`trainer_state` returned."""
    content = _unpacked(values["content"], arrays)
    for name, parameter in model.named_parameters():
        parameter.copy_(content["parameters"][name])
    for name, buffer in model.named_buffers():
        buffer.copy_(content["buffers"][name])
    optimizer.load_state_dict(content["optimizer"])
    _undo_casts(optimizer, content["optimizer"])
    torch.set_rng_state(content["random"])
    if "device_random" in content:
        torch.cuda.set_rng_state(content["device_random"], next(model.parameters()).device)


def _undo_casts(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give the state its own dtypes back: `load_state_dict` casts it to those of the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in saved["state"]:
            optimizer.state[parameter] = _as_saved(optimizer.state[parameter], saved["state"][number])


def _as_saved(loaded: Any, saved: Any) -> Any:
    """What was saved, on the devices where it was loaded."""
    if isinstance(loaded, Tensor) and isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    if isinstance(loaded, Mapping):
        return {key: _as_saved(value, saved[key]) for key, value in loaded.items()}
    if isinstance(loaded, list | tuple):
        return type(loaded)(_as_saved(one, other) for one, other in zip(loaded, saved, strict=True))
    return loaded


def _packed(value: Any, arrays: Arrays) -> Any:
    """A tree of plain values; tensors go to `arrays`, and tuples and the keys' types survive JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        host = value.detach().cpu()
        name = f"tensor_{len(arrays)}"
        arrays[name] = (host.float() if kind in ("bfloat16", "float16") else host).numpy()
        return {"tensor": name, "dtype": kind}
    if isinstance(value, Mapping):
        return {"items": [[_packed(key, arrays), _packed(item, arrays)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(item, arrays) for item in value]}
    raise TypeError(f"a {type(value).__name__}")


def _unpacked(value: Any, arrays: Arrays) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "tensor" in value:
        return torch.from_numpy(np.array(arrays[value["tensor"]])).to(getattr(torch, value["dtype"]))
    if "items" in value:
        return {_unpacked(key, arrays): _unpacked(item, arrays) for key, item in value["items"]}
    if "tuple" in value:
        return tuple(_unpacked(item, arrays) for item in value["tuple"])
    return [_unpacked(item, arrays) for item in value["list"]]
