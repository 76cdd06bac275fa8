"""A callback for Lightning that records the run and measures the curvature along it.

Works with ``lightning`` and with ``pytorch_lightning``, whichever the training has imported.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape._arguments import check_whole
from landscape.bridges.measurement import Measurement
from landscape.errors import InputError, LandscapeError
from landscape.objective import Objective
from landscape.store import load
from landscape.trajectory.optimizer_facts import learning_rate, optimizer_facts
from landscape.trajectory.recorder import Recorder
from landscape.trajectory.snapshot import undisturbed

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _callbacks() -> tuple[Any, ...]:
    """The class that callbacks of the training derive from; of both packages if both are loaded."""
    loaded = [sys.modules[name].Callback for name in PACKAGES if hasattr(sys.modules.get(name), "Callback")]
    if loaded:
        return tuple(dict.fromkeys(loaded))
    for name in PACKAGES:
        try:
            return (import_module(name).Callback,)
        except ImportError:
            continue
    raise InputError("LightningRecorder needs Lightning: pip install lightning (or pytorch_lightning)")


class LightningRecorder(*_callbacks()):  # type: ignore[misc]
    """Record a training with Lightning, and measure eigenvalues and density every so many steps.

    The training ends with the same bits as without it: parameters, gradients, modes and random state are only read.
    With several processes the first one records and measures, the others wait for it at their next exchange of
    gradients; choose ``measure_every`` with that in mind. Sharded models (FSDP, DeepSpeed) are refused.

    The run is written to `path` (``landscape.Trajectory``), eigenvalues and densities beside it as
    ``NAME-eigenvalues.h5`` and ``NAME-densities.h5`` (``landscape.load``); each measurement replaces these files.

    Parameters
    ----------
    path : path
        Of the recording, such as ``"run.h5"``.
    every : int
        Keep every so many optimizer steps; the first and the last are always kept.
    part : str
        Record this part of the module only, such as ``"model"``: its parameters have the names that an
        :class:`~landscape.Objective` of the part gives them. Default: the whole LightningModule.
    objective : Objective, or callable, optional
        Measured at the present parameters: of the module or the part, on fixed batches. A callable gets the module or
        the part, in evaluation mode, when the training starts.
    measure_every : int
        Optimizer steps between two measurements, the first before the training and the last at its end.
    k : int
        How many of the largest eigenvalues; 0 for none.
    density : bool
        Whether to estimate the density of the eigenvalues, too.
    measuring : dict, optional
        Further options of the measurement: ``tol`` (1e-2), ``density_tol`` (0.2), ``density_products`` (60), ``seed``.
    **options
        Of :class:`~landscape.Recorder`: name, evaluate, optimizer_state, provenance, overwrite, resume, ….

    Attributes
    ----------
    recorder : Recorder or None
        While training.
    measurement : Measurement or None

    Raises
    ------
    InputError
        An argument is out of range. Later, when the training starts: the file exists, the part or the parameters of the
        objective do not.

    Examples
    --------
    >>> callback = LightningRecorder("run.h5", every=10, overwrite=True)
    >>> trainer = lightning.Trainer(callbacks=[callback], max_epochs=3)                 # doctest: +SKIP
    >>> trainer.fit(module, loader); run = landscape.Trajectory("run.h5")               # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        part: str = "",
        objective: Objective | Callable[[nn.Module], Objective] | None = None,
        measure_every: int = 100,
        k: int = 3,
        density: bool = False,
        measuring: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check_whole("every", every, 1)
        check_whole("measure_every", measure_every, 1)
        if objective is not None and not isinstance(objective, Objective) and not callable(objective):
            raise InputError(
                f"objective must be a landscape.Objective or a function of the module, not {type(objective).__name__}"
            )
        self.path, self.every, self.part, self.options = Path(path), every, part, options
        self.objective, self.measure_every = objective, measure_every
        self.measuring = {"k": k, "density": density, **(measuring or {})}
        self.recorder: Recorder | None = None
        self.measurement: Measurement | None = None
        self._measured_at = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to record; after all weights were loaded."""
        if not trainer.is_global_zero:
            return
        module = self._module(pl_module)
        self._check_files()
        # Several optimizers have no common state.
        optimizer = trainer.optimizers[0] if len(trainer.optimizers) == 1 else None
        self.recorder = Recorder(self.path, module, optimizer, every=self.every, **self.options)
        if trainer.global_step and not self.options.get("resume"):
            self.recorder.steps = trainer.global_step
        self.recorder.__enter__()
        if trainer.global_step and self.options.get("resume"):
            self.recorder.rewind(trainer.global_step)
        if self.objective is not None:
            self.measurement = Measurement(self._built(module), **self.measuring)
            if trainer.global_step and self.options.get("resume"):
                before = (load(path) if path.exists() else None for path in (self.eigenvalue_path, self.density_path))
                self.measurement.go_on(next(before), next(before), trainer.global_step)
            self._measure(trainer, pl_module, math.nan)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record and measure, if the optimizer has done a step: not while gradients are accumulated."""
        if self.recorder is None or trainer.global_step <= self.recorder.steps:
            return
        before, loss = self.recorder.steps, _loss_of(outputs)
        while self.recorder.steps < trainer.global_step:
            self.recorder.step(loss)
        if self.measurement is not None and trainer.global_step // self.measure_every > before // self.measure_every:
            self._measure(trainer, pl_module, math.nan if loss is None else float(loss))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure at the end, and close the recording."""
        if self.recorder is None:
            return
        if self.measurement is not None and self._measured_at != trainer.global_step:
            self._measure(trainer, pl_module, math.nan)
        self.recorder.__exit__(None, None, None)
        self.recorder = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Bring what was recorded to the disk; the run stays unfinished."""
        if self.recorder is not None:
            self.recorder.__exit__(type(exception), exception, exception.__traceback__)
            self.recorder = None

    @property
    def eigenvalue_path(self) -> Path:
        """Where the eigenvalues are."""
        return self.path.with_name(f"{self.path.stem}-eigenvalues.h5")

    @property
    def density_path(self) -> Path:
        """Where the densities are."""
        return self.path.with_name(f"{self.path.stem}-densities.h5")

    def _module(self, pl_module: nn.Module) -> nn.Module:
        try:
            return pl_module.get_submodule(self.part)
        except AttributeError as error:
            parts = ", ".join(name for name, _ in pl_module.named_children())
            raise InputError(f"the module has no part {self.part!r}; it has: {parts}") from error

    def _check_files(self) -> None:
        """Refuse to replace what an earlier training has measured."""
        if self.objective is None or self.options.get("overwrite") or self.options.get("resume"):
            return
        for path in (self.eigenvalue_path, self.density_path):
            if path.exists():
                raise InputError(
                    f"{path} exists: give LightningRecorder another path, or overwrite=True, or resume=True to go on "
                    "with it"
                )

    def _built(self, module: nn.Module) -> Objective:
        if isinstance(self.objective, Objective):
            return self.objective
        with undisturbed(module):
            module.eval()
            return self.objective(module)  # type: ignore[misc]

    def _measure(self, trainer: Any, pl_module: nn.Module, loss: float) -> None:
        """Measure, and write everything measured so far."""
        if self.measurement is None:
            return
        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        rate = learning_rate(optimizer)
        self._measured_at = trainer.global_step
        before = len(self.measurement)
        self.measurement.measure(self._module(pl_module), trainer.global_step, loss, rate)
        if len(self.measurement) == before:
            return
        name = self.options.get("name") or (type(optimizer).__name__ if optimizer is not None else "")
        facts = optimizer_facts(optimizer)
        try:
            if self.measurement.k:
                self.measurement.eigen_series(name, facts).save(self.eigenvalue_path)
            if self.measurement.density:
                self.measurement.density_series(name, facts).save(self.density_path)
        except (OSError, LandscapeError) as error:  # a full disk
            self.measurement.refuse(trainer.global_step, error)


def _loss_of(outputs: Any) -> Tensor | None:
    """The loss of the step as Lightning hands it over; None where the module does its own optimization."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return loss.detach() if isinstance(loss, Tensor) and loss.numel() == 1 else None
