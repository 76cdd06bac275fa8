"""Train an objective and record the run; killed at any moment, the same call goes on and gives the same run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape._data import Batch, in_words
from landscape._trainer_state import restore, trainer_state
from landscape.errors import ComputeError, InputError
from landscape.objective import Objective
from landscape.optim import build
from landscape.parallel.threads import one_thread, use_threads
from landscape.store import RunState, check_writable, configuration_differences, differences_in_words, remove_run_state
from landscape.trajectory import Recorder, Trajectory

# Enough for a smooth path and a video of some seconds.
CHECKPOINTS = 200

Progress = Callable[[int, int, str], None]


def train(
    objective: Objective,
    optimizer: str = "sgd",
    *,
    lr: float | None = None,
    epochs: int = 10,
    batch: int = 64,
    every: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    path: str | os.PathLike[str] = "train.h5",
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    finalize: bool = True,
    overwrite: bool = False,
    state: RunState | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> Trajectory:
    """Train a copy of the objective's network on mini-batches of its data, from its theta, and record the run.

    It runs on one thread with random numbers of its own, in train mode (dropout on, batch norm with the statistics of
    the mini-batch). The recorded loss is that of the whole objective, ``objective.at(run[i]).loss()``. The same call
    again continues a run that was killed, with the same bits, and returns one that is complete.

    Parameters
    ----------
    objective : Objective
        Of one process; it is unchanged.
    optimizer : str
        One of ``landscape.optim.names()``.
    lr : float, optional
        Learning rate. Default: the optimizer's own; 0.1 for sgd.
    epochs : int
        Passes over the data.
    batch : int
        Samples per step at most; all steps of an epoch take the same number, or one less.
    every : int, optional
        Keep every so many steps; the first and the last are always kept. Default: about 200 checkpoints in all.
    seed : int
        Of the order of the samples and of dropout.
    options : dict, optional
        Further options of the optimizer.
    path : path
        The recording; its segments lie in ``<path>.segments`` beside it.
    name : str, optional
        Label in figures; default: the optimizer's class.
    provenance : dict, optional
        Plain values that are stored with the run.
    finalize : bool
        Call the optimizer's ``finalize()`` at the end, if it has one, and record what comes out as one more step, if
        it changed anything; the last step is kept too. ProxSGD makes exact zeros there.
    overwrite : bool
        Whether a run of another configuration may be replaced.
    state : path or RunState, optional
        Folder for the state of the unfinished training; default ``<path>.state``.
    checkpoint_seconds : float
        Time between two savings of the state.
    progress : callable, optional
        ``progress(done, total, text)`` after each step.

    Returns
    -------
    Trajectory
        ``run[-1]`` is the trained network.

    Raises
    ------
    InputError
        If an argument is out of range, the optimizer or one of its options is unknown (the message lists them), or
        `path` holds something else; if there are several ranks.
    ComputeError
        If the loss becomes NaN or infinite: which step. What was recorded before stays.

    Examples
    --------
    >>> objective = Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> run = train(objective, "sgd", lr=0.1, epochs=2, batch=4)
    >>> run.steps.tolist(), bool(run.losses[-1] < run.losses[0])
    ([0, 1, 2, 3, 4], True)
    """
    _check(objective, epochs, batch, every, seed, checkpoint_seconds)
    path = Path(path)
    steps = epochs * sum(1 for _ in objective.mini_batches(batch, seed, 0))
    every = max(1, round(steps / CHECKPOINTS)) if every is None else every
    model = objective.model()
    algorithm = build(optimizer, model, lr, **(options or {}))
    configuration = {
        **objective.describe(),
        "optimizer": optimizer,
        "lr": lr,
        "options": dict(options or {}),
        "epochs": epochs,
        "batch": batch,
        "every": every,
        "seed": seed,
        "finalize": finalize,
    }
    check_writable(path)
    earlier = _earlier_run(path, configuration, overwrite)
    if not isinstance(state, RunState):
        state = _open_state(Path(state or path.with_name(path.name + ".state")), configuration, overwrite)
    if earlier is not None and earlier.complete:
        state.clear()
        return earlier
    reached = _reached(earlier, state)
    if reached == 0:
        state.clear()
    going_on = earlier is not None and reached > 0
    # A recording that goes on keeps what it says of its beginning, such as the date.
    facts = earlier.provenance if earlier is not None and going_on else {**(provenance or {})}
    with _own_circumstances(objective, seed) as threads:
        training = _Training(objective, model, algorithm, threads)
        recorder = Recorder(
            path,
            model,
            algorithm,
            every=every,
            evaluate=training.full_loss,
            name=name,
            provenance={**facts, "configuration": configuration},
            # What is there without a state is a run of this configuration, or one that may be replaced; work that can
            # be continued is never erased.
            overwrite=not going_on and (overwrite or earlier is not None),
            resume=going_on,
        )
        with recorder:
            if going_on:
                recorder.rewind(reached)
                training.restore(state)
            saved = time.monotonic()
            for data in training.remaining(batch, epochs, seed):
                loss = training.step(data)
                recorder.step()
                if progress is not None:
                    progress(training.done, steps, f"loss {loss:.4g}")
                if time.monotonic() - saved >= checkpoint_seconds:
                    recorder.flush()  # first, so that the recording always reaches as far as the state
                    training.save(state)
                    saved = time.monotonic()
            if finalize:
                recorder.keep()  # what the last step gave, before anything else changes it
                if training.finalize():
                    recorder.step()
    state.clear()
    return Trajectory(path)


@contextmanager
def _own_circumstances(objective: Objective, seed: int) -> Iterator[int]:
    """One thread, a random stream of our own, gradients on, no autocast; gives the caller's number of threads."""
    threads = torch.get_num_threads()
    devices = [objective.device.index or 0] if objective.device.type == "cuda" else []
    with (
        one_thread(),
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        torch.autocast(objective.device.type, enabled=False),
    ):
        # Not torch.manual_seed, which reseeds every device of the caller.
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield threads


class _Training:
    """A model, its optimizer and how far they are."""

    def __init__(self, objective: Objective, model: nn.Module, optimizer: torch.optim.Optimizer, threads: int) -> None:
        self.objective, self.model, self.optimizer = objective, model.train(), optimizer
        self.threads = threads  # of evaluations: those that the caller has
        self.done = self.epoch = self.position = 0

    def remaining(self, batch: int, epochs: int, seed: int) -> Iterator[Batch]:
        """The mini-batches of all steps that are still to do."""
        while self.epoch < epochs:
            for data in islice(self.objective.mini_batches(batch, seed, self.epoch), self.position, None):
                self.position += 1
                yield data
            self.epoch, self.position = self.epoch + 1, 0

    def step(self, data: Batch) -> float:
        """One optimizer step; return the loss of the mini-batch before it."""
        values: list[float] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self._loss(data)
            values.append(loss.item())
            if not math.isfinite(values[-1]):
                raise ComputeError(
                    f"the loss of the mini-batch is {values[-1]} at step {self.done}: the training diverges. Take a "
                    "smaller lr, or look at the data; what was recorded before stays"
                )
            loss.backward()
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]  # torch itself passes tensors on
        self.done += 1
        return values[0] if values else math.nan

    def finalize(self) -> bool:
        """Let the optimizer put the last touch, if it has one; return whether that changed anything."""
        ending = getattr(self.optimizer, "finalize", None)
        if not callable(ending):
            return False
        before = self._theta()
        ending()
        return not torch.equal(before, self._theta())

    def full_loss(self) -> float:
        """Loss of the whole objective at the present parameters and buffers, as it is without training."""
        use_threads(self.threads)
        try:
            return self.objective.at(self._theta(), dict(self.model.named_buffers())).loss()
        except InputError as error:
            raise ComputeError(
                f"after {self.done} steps the loss cannot be evaluated: {error}. The training diverges: take a smaller "
                "lr; what was recorded before stays"
            ) from error
        finally:
            use_threads(1)

    def save(self, state: RunState) -> None:
        """Replace the saved state, in one step."""
        arrays, values = trainer_state(self.model, self.optimizer)
        state.replace(arrays, {"steps": self.done, "epoch": self.epoch, "position": self.position, **values})

    def restore(self, state: RunState) -> None:
        """Go back to the saved state."""
        arrays, values = next(state.segments())
        self.done, self.epoch, self.position = (int(values[key]) for key in ("steps", "epoch", "position"))
        restore(arrays, values, self.model, self.optimizer)

    def _loss(self, data: Batch) -> Tensor:
        try:
            return self.objective.batch_loss(self.model, data)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else ""
            raise InputError(
                f"the model or the loss fails in train mode at step {self.done}, on a mini-batch of {in_words(data)}: "
                f"{type(error).__name__}: {reason}"
            ) from error

    def _theta(self) -> Tensor:
        return torch.cat([value.detach().reshape(-1) for value in self.model.parameters() if value.requires_grad])


def _check(
    objective: Objective, epochs: int, batch: int, every: int | None, seed: int, checkpoint_seconds: float
) -> None:
    if not isinstance(objective, Objective):
        raise InputError(f"train needs a landscape.Objective, not {type(objective).__name__}")
    if objective.grid.size > 1:
        raise InputError(
            f"training runs in one process, but there are {objective.grid.size} ranks: start it without mpiexec"
        )
    for name, value, least in (("epochs", epochs, 1), ("batch", batch, 1), ("every", every, 1), ("seed", seed, 0)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if batch > objective.samples:
        raise InputError(f"batch={batch}, but the data has {objective.samples} samples: take at most as many")
    if not checkpoint_seconds >= 0:
        raise InputError(f"checkpoint_seconds must not be negative, not {checkpoint_seconds}")


def _earlier_run(path: Path, configuration: dict[str, Any], overwrite: bool) -> Trajectory | None:
    """The run of this configuration that is already there, finished or not.

    Raises
    ------
    InputError
        There is something else, which may not be overwritten.
    """
    if not path.exists():
        return None
    try:
        found = Trajectory(path)
    except InputError as error:
        if overwrite:
            return None
        raise InputError(f"{error}; or choose another path, or allow it to be overwritten") from error
    before = found.provenance.get("configuration")
    if before is not None and not configuration_differences(before, configuration):
        return found
    if overwrite:
        return None
    differences = (
        "it was recorded by another program" if before is None else differences_in_words(before, configuration)
    )
    raise InputError(
        f"{path} holds a run of another configuration:\n{differences}\n"
        "choose another path, or allow it to be overwritten"
    )


def _open_state(folder: Path, configuration: dict[str, Any], overwrite: bool) -> RunState:
    """The state of an unfinished training; with `overwrite`, one of another configuration goes."""
    try:
        return RunState(folder, configuration)
    except InputError:
        if not overwrite:
            raise
    remove_run_state(folder)
    return RunState(folder, configuration)


def _reached(earlier: Trajectory | None, state: RunState) -> int:
    """The step that an unfinished training can go on from; 0 starts again."""
    saved = next(iter(state.segments()), None)
    if earlier is None or saved is None:
        return 0
    step = int(saved[1]["steps"])
    return step if step - step % earlier.every <= int(earlier.steps[-1]) else 0
