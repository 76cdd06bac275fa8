"""A private copy of the user's network as a function of its parameters and buffers."""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.parallel import ProcessGrid

Selection = Sequence[str] | str | Callable[[str, nn.Parameter], bool] | None

_DROPOUTS = nn.modules.dropout._DropoutNd


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel, DataParallel and torch.compile.

    Raises
    ------
    InputError
        For sharded (FSDP) models, and for what is not a module.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = cast(nn.Module, model.module)
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = cast(nn.Module, model._orig_mod)
        else:
            break
    sharded = [name for name, value in model.named_parameters() if type(value.data).__name__ == "DTensor"]
    if sharded or any("FullyShardedDataParallel" in type(module).__name__ for module in model.modules()):
        raise InputError(
            "the model is sharded (FSDP), which is not supported yet: load its full state dict into an unsharded copy"
        )
    return model


def check_dropout(model: nn.Module) -> None:
    """Refuse a model that would drop units at random, naming the layers."""
    active = []
    for name, module in model.named_modules():
        if not module.training:
            continue
        if isinstance(module, _DROPOUTS):
            rate = module.p
        else:
            rate = getattr(module, "dropout", 0.0) if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) else 0.0
        if isinstance(rate, (int, float)) and rate > 0:
            active.append(f"{name or 'model'} ({type(module).__name__}, p={rate:g})")
    if active:
        raise InputError(
            f"dropout is in train mode, so the loss is random: {', '.join(active)}. Call model.eval() before building "
            "the Objective"
        )


def check_batch_statistics(model: nn.Module) -> None:
    """Refuse batch norm without running statistics, whose output depends on how the data are cut."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise InputError(
                f"{name or 'model'} ({type(module).__name__}) has track_running_stats=False, so even in eval mode "
                "every sample's output depends on its micro-batch: no mean over samples exists. Train with running "
                "statistics"
            )


class Network:
    """A frozen copy of a module, in evaluation mode, called with explicit parameters and buffers.

    Parameters
    ----------
    model : nn.Module
        Copied; never changed.
    selection : names, regular expression, predicate or None
        Which parameters are variables; by default those that require gradients.
    device : torch.device or None

    Attributes
    ----------
    names : tuple of str
        The variables in ``named_parameters()`` order.
    shapes : tuple of torch.Size
    theta : (n,) tensor
        Their values.
    fixed : dict of tensors
        Frozen parameters.
    buffers : dict of tensors
    """

    def __init__(self, model: nn.Module, selection: Selection, device: torch.device | None) -> None:
        model = unwrap(model)
        check_dropout(model)
        check_batch_statistics(model)
        try:
            self.module = copy.deepcopy(model)
        except Exception as error:
            raise InputError(
                f"the model cannot be copied ({type(error).__name__}: {error}): it holds something deepcopy refuses"
            ) from error
        if device is not None:
            self.module = self.module.to(device)
        self.module.eval().requires_grad_(False)
        chosen = _select(model, selection)
        if not chosen:
            raise InputError(
                "nothing is trainable: no parameter "
                + ("requires gradients" if selection is None else "is selected by parameters=")
            )
        parameters = dict(self.module.named_parameters())
        self.names = tuple(name for name in parameters if name in chosen)
        values = [parameters[name].detach() for name in self.names]
        kinds = {(value.dtype, value.device) for value in values}
        if len(kinds) > 1:
            listed = ", ".join(sorted(f"{dtype} on {place}" for dtype, place in kinds))
            raise InputError(f"the parameters must share one dtype and one device, but they are {listed}")
        if values[0].dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"the parameters must be float32 or float64, not {values[0].dtype}: convert a copy, model.float()"
            )
        self.shapes = tuple(value.shape for value in values)
        self.theta = torch.cat([value.reshape(-1) for value in values])
        self.fixed = {name: value.detach().clone() for name, value in parameters.items() if name not in chosen}
        self.buffers = {name: value.detach().clone() for name, value in self.module.named_buffers()}
        self.recurrent = any(isinstance(module, nn.RNNBase) for module in self.module.modules())
        self.remembering = any(isinstance(module, nn.LSTM) for module in self.module.modules())

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of a flat vector under the names and shapes of the variables."""
        parts = theta.split([shape.numel() for shape in self.shapes])
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def parameters_of(self, checkpoint: Any, fixed: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Theta of a checkpoint in our order, and the frozen parameters with those that it has.

        Raises
        ------
        InputError
            It belongs to another model: which parameter, and both shapes.
        """
        names = tuple(getattr(checkpoint, "names", ()))
        if not names or (names == self.names and tuple(map(tuple, checkpoint.shapes)) == self.shapes):
            return checkpoint.theta, fixed
        known = {**self.unflatten(self.theta), **fixed}
        found = _by_name(torch.as_tensor(checkpoint.theta), names, checkpoint.shapes, known, self.names)
        theta = torch.cat([found[name].reshape(-1) for name in self.names])
        return theta, {name: found.get(name, value).to(value) for name, value in fixed.items()}

    def restricted(self, selection: Selection) -> Network:
        """The same network with fewer variables; the others count as frozen.

        Raises
        ------
        InputError
            None of the variables is chosen, or a name is not among them.
        """
        parameters = dict(self.module.named_parameters())
        chosen = _chosen({name: parameters[name] for name in self.names}, selection)
        if not chosen:
            raise InputError(f"no parameter is chosen by {selection!r}; there are {', '.join(self.names)}")
        values = self.unflatten(self.theta)
        other = copy.copy(self)
        other.names = tuple(name for name in self.names if name in chosen)
        other.shapes = tuple(values[name].shape for name in other.names)
        other.theta = torch.cat([values[name].reshape(-1) for name in other.names])
        other.fixed = {**self.fixed, **{name: value for name, value in values.items() if name not in chosen}}
        return other

    def bind(
        self, variables: dict[str, Tensor], fixed: dict[str, Tensor], buffers: dict[str, Tensor]
    ) -> Callable[[Any], Any]:
        """The network as a function of its input at given parameters."""
        state = {**fixed, **_copies(buffers), **variables}
        return lambda data: torch.func.functional_call(self.module, state, (data,))

    def bind_loss(
        self,
        function: Callable[[nn.Module], Any],
        variables: dict[str, Tensor],
        fixed: dict[str, Tensor],
        buffers: dict[str, Tensor],
    ) -> Any:
        """Evaluate ``function(module)`` while the module holds the given parameters."""
        wrapper = _Apply(self.module)
        state = {f"module.{name}": value for name, value in {**fixed, **_copies(buffers), **variables}.items()}
        return torch.func.functional_call(wrapper, state, (function,))

    def trainable(self, theta: Tensor, fixed: dict[str, Tensor], buffers: dict[str, Tensor]) -> nn.Module:
        """A private copy of the module with these values, whose variables require gradients."""
        module = copy.deepcopy(self.module)
        values = {**self.unflatten(theta), **fixed}
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(values[name])
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in self.names)
        return module

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Derivatives on, and kernels that have two of them; everything is restored on exit.

        Attention by the math kernel and not by its inference fast path, no cuDNN recurrent layers, no oneDNN LSTM, no
        autocast.
        """
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with ExitStack() as stack:
            stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(self.theta.device.type, enabled=False))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if self.recurrent and torch.backends.cudnn.is_available():
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            if self.remembering and self.theta.device.type == "cpu":
                # Not flags(): it sets more than it is asked to, and warns of what it sets.
                stack.callback(setattr, torch.backends.mkldnn, "enabled", torch.backends.mkldnn.enabled)
                torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
            yield


def point_digest(theta: Tensor, others: Mapping[str, Tensor]) -> str:
    """SHA-256 of a point: theta, and the frozen parameters and buffers by name."""
    result = hashlib.sha256(theta.detach().cpu().numpy().data)
    for name in sorted(others):
        result.update(name.encode())
        result.update(others[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()


def _by_name(
    theta: Tensor,
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    like: Mapping[str, Tensor],
    needed: Sequence[str],
) -> dict[str, Tensor]:
    """The parameters that a checkpoint is made of, in whatever order, if they are those of the model.

    Parameters
    ----------
    theta : (n,) tensor
    names, shapes : sequences
        Of the checkpoint.
    like : dict of tensors
        All parameters of the model.
    needed : sequence of str
        Those that the checkpoint must have.

    Raises
    ------
    InputError
        Naming the first parameter that differs, and both shapes.
    """
    there = {name: tuple(int(size) for size in shape) for name, shape in zip(names, shapes, strict=True)}
    here = {name: tuple(value.shape) for name, value in like.items()}
    other = "the checkpoint belongs to another model"
    for name, shape in there.items():
        if name in here and here[name] != shape:
            raise InputError(
                f"{other}: parameter {name!r} has shape {shape} in the checkpoint, but {here[name]} in the model"
            )
        if name not in here:
            lacking = [f"{wanted!r} of shape {here[wanted]}" for wanted in needed if wanted not in there]
            instead = f"; the model has {lacking[0]}, which the checkpoint lacks" if lacking else ""
            raise InputError(f"{other}: the model lacks its parameter {name!r} of shape {shape}{instead}")
    for name in needed:
        if name not in there:
            raise InputError(f"{other}: it lacks parameter {name!r} of shape {here[name]}")
    sizes = [math.prod(shape) for shape in there.values()]
    if sum(sizes) != theta.numel():
        raise InputError(
            f"theta has shape {tuple(theta.shape)}, but the names of its checkpoint need {sum(sizes)} numbers"
        )
    parts = theta.split(sizes)
    return {name: part.view(shape) for (name, shape), part in zip(there.items(), parts, strict=True)}


def _copies(buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a forward pass may write to without changing the objective."""
    return {name: value.clone() for name, value in buffers.items()}


class _Apply(nn.Module):
    """Hands its inner module to a function, so that functional_call can replace the parameters meanwhile."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[[nn.Module], Any]) -> Any:
        return function(self.module)


def _select(model: nn.Module, selection: Selection) -> set[str]:
    parameters = dict(model.named_parameters())
    if selection is None:
        return {name for name, value in parameters.items() if value.requires_grad}
    return _chosen(parameters, selection)


def _chosen(parameters: Mapping[str, nn.Parameter], selection: Selection) -> set[str]:
    if selection is None:
        return set(parameters)
    if isinstance(selection, str):
        return {name for name in parameters if re.search(selection, name)}
    if callable(selection):
        return {name for name, value in parameters.items() if selection(name, value)}
    unknown = [name for name in selection if name not in parameters]
    if unknown:
        raise InputError(f"parameters= names {unknown}, which the model lacks; it has {list(parameters)}")
    return set(selection)


def checked_device(device: torch.device | str, grid: ProcessGrid | None = None) -> torch.device:
    """A device that this installation of torch has; "cuda" is the GPU of this rank of `grid`.

    Raises
    ------
    InputError
        If it is unknown or not there.
    """
    try:
        found = torch.device(device) if grid is None else grid.own_device(torch.device(device))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"device {str(device)!r} cannot be used here: {reason}") from error
    return found
