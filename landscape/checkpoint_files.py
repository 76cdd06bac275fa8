"""Parameters from checkpoint files, in the ways that training scripts write them; code in a file is never run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning and the like
NESTED = ("state_dict", "model_state_dict", "model")


def read_checkpoint(path: str | os.PathLike[str], names: Iterable[str] = ()) -> dict[str, Tensor]:
    """Read a state dict.

    Parameters
    ----------
    path : path
        ``.safetensors``, or a file of ``torch.save`` (``.pt``, ``.pth``, ``.bin``, ``.ckpt``) that holds tensors only:
        a state dict, or a dictionary with one under "state_dict", "model_state_dict" or "model".
    names : iterable of str
        The model's parameters: they decide whether a prefix such as ``module.`` is taken off. Without them every known
        prefix that all names share is.

    Returns
    -------
    dict of tensors, on the CPU

    Raises
    ------
    InputError
        The file is missing, damaged, holds no state dict, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _without_prefixes(_state_dict(content, path), set(names))


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or no safetensors file: {error}") from error


def _read_torch(path: Path) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # read or refused, but not a worry
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _looks_like_torch(path):
            raise InputError(f"{path} is no checkpoint: it is not a file of torch.save") from error
        if "weights_only" not in str(error).lower() and "unsupported" not in str(error).lower():
            raise InputError(f"{path} is damaged: {error}") from error
        raise InputError(
            f"{path} wants to run code when it is read, so it is refused: {_first_reason(error)}. "
            "Write the parameters alone, with torch.save(model.state_dict(), path) or safetensors.torch.save_file, "
            "and give that file"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is truncated or no file of torch.save: {text}") from error


def _looks_like_torch(path: Path) -> bool:
    """Whether a file begins like an archive or a pickle, as all that torch has written since its version 0.1."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def _first_reason(error: Exception) -> str:
    """Of torch's long message, the line that names what is not allowed."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if "GLOBAL" in line or "not allowed" in line or "Unsupported" in line]
    return (reasons or lines)[0].removeprefix("WeightsUnpickler error: ").rstrip(".")


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    import torch

    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds a {type(content).__name__}, not a dictionary of named tensors")
    strange = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise InputError(
            f"{path} holds more than tensors ({', '.join(map(str, strange[:5]))}); save "
            f"model.state_dict() alone, or under one of the keys {', '.join(NESTED)}"
        )
    return {str(name): value for name, value in content.items()}


def _without_prefixes(state: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """Take off prefixes that all names share, as long as the model has other names."""
    while not names & state.keys():
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
