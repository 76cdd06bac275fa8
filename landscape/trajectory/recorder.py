"""Record a training run: one call per optimizer step in the user's own loop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from landscape._network import unwrap
from landscape.errors import ComputeError, InputError
from landscape.records import Checkpoint
from landscape.store import check_writable, configuration_differences, differences_in_words
from landscape.store.configuration import plain
from landscape.store.hdf5 import Arrays
from landscape.trajectory.files import (
    CHANGED_AT,
    Header,
    is_trajectory,
    read_header,
    remove_segments,
    rows_of,
    segment_path,
    segment_paths,
    segments_folder,
    write_header,
    write_segment,
)
from landscape.trajectory.optimizer_facts import check_optimizer, differ, optimizer_facts
from landscape.trajectory.parts import parts_of
from landscape.trajectory.snapshot import snapshot, trained_parameters, undisturbed

Evaluate = Callable[[], float]


class Recorder:
    """Writes the checkpoints of a training run to disk, so that a kill loses at most the unfinished segment.

    The model, the optimizer and the random state are read, never changed. With `torch.distributed` the first rank
    records and the others do nothing.

    Parameters
    ----------
    path : path
        The index file; the checkpoints go to the folder ``<path>.segments`` beside it.
    model : torch.nn.Module
        DistributedDataParallel and compiled modules are unwrapped. Parameters that require gradients make theta.
    optimizer : torch.optim.Optimizer, optional
        Recorded with each checkpoint: learning rate, momentum, second moment.
    every : int
        Keep every so many optimizer steps; the first and the last are always kept.
    evaluate : callable, optional
        ``evaluate()`` → the loss to record at each kept checkpoint, such as that of all data, instead of the one given
        to :meth:`step`.
    name : str, optional
        Label in figures; default: the optimizer's class.
    optimizer_state : bool
        Whether to keep momentum and second moment, which are as large as theta each.
    provenance : dict, optional
        Plain values that are stored with the run.
    segment_bytes, segment_seconds : float
        A segment is written when this much has been recorded, or this much time has passed.
    overwrite : bool
        Whether a run that is already there may be replaced.
    resume : bool
        Go on with a run of the same configuration that is already there; start one if there is none. Without
        :meth:`rewind` it goes on after the last checkpoint on the disk. A new `name` replaces the earlier one.

    Raises
    ------
    InputError
        The run exists, is of another configuration, or cannot be written; the model has no trainable parameters.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with Recorder("run.h5", model, optimizer) as recorder:
    ...     loss = model(torch.ones(3, 2)).square().mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     recorder.step(loss=loss)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: nn.Module,
        optimizer: Any = None,
        *,
        every: int = 1,
        evaluate: Evaluate | None = None,
        name: str | None = None,
        optimizer_state: bool = True,
        provenance: Mapping[str, Any] | None = None,
        segment_bytes: int = 2**25,
        segment_seconds: float = 10.0,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        if every < 1 or int(every) != every:
            raise InputError(f"every must be a whole number of steps, at least 1, not {every}")
        self.path = Path(path)
        self._model = unwrap(model)
        self._optimizer = optimizer
        self._evaluate = evaluate
        self._optimizer_state = optimizer_state
        self._segment_bytes, self._segment_seconds = segment_bytes, segment_seconds
        self._overwrite, self._resume = overwrite, resume
        trained = trained_parameters(self._model)
        check_optimizer(optimizer, list(trained.values()))
        self._header = Header(
            name=name or "",
            names=tuple(trained),
            shapes=tuple(tuple(value.shape) for value in trained.values()),
            every=int(every),
            optimizer=plain(optimizer_facts(optimizer)),
            provenance=plain(dict(provenance or {})),
        )
        self.steps = 0
        self._recording = False
        self._pending: list[tuple[Checkpoint, str]] = []
        self._pending_bytes = 0
        self._segments: list[Arrays] = []  # steps and losses of each
        self._last_loss: Any = None
        self._written = time.monotonic()

    def __enter__(self) -> Recorder:
        if _first_rank():
            check_writable(self.path)
            there = self.path.exists()
            if not (there and self._resume and self._continued()):
                self._begin(there)
            self._recording = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._recording:
            return
        if kind is not None:
            self.flush()
        else:
            self.keep()
            self.flush()
            checkpoints = sum(len(facts["steps"]) for facts in self._segments)
            write_header(self.path, replace(self._header, complete=True, checkpoints=checkpoints))
        self._recording = False

    def step(self, loss: float | Tensor | None = None) -> None:
        """Count one optimizer step, and keep a checkpoint if it is due.

        Parameters
        ----------
        loss : float or 0-dimensional tensor, optional
            To record with it; a tensor on a device is copied only if the checkpoint is kept.

        Raises
        ------
        InputError
            Outside of the ``with`` block, or the model has other parameters than at the start.
        ComputeError
            Writing failed (disk full).
        """
        self.steps += 1
        if not self._recording:
            if _first_rank():
                raise InputError("the recorder is not open: call step() inside of its `with` block")
            return
        self._last_loss = loss.detach() if isinstance(loss, Tensor) else loss
        if self.steps % self._header.every == 0:
            self._keep(self._last_loss)
        full = self._pending_bytes >= self._segment_bytes
        if full or (self._pending and time.monotonic() - self._written >= self._segment_seconds):
            self.flush()

    def keep(self) -> None:
        """Keep a checkpoint of the present step, even if it is not due, unless that was done."""
        if self._recording and self._last_step() != self.steps:
            self._keep(self._last_loss)

    def flush(self) -> None:
        """Bring everything recorded so far to the disk, as one segment."""
        if self._pending:
            index = len(self._segments)
            path = segment_path(self.path, index)
            if path.exists():
                raise ComputeError(
                    f"{path} appeared meanwhile: another process records to {self.path}; end one of them"
                )
            path.parent.mkdir(exist_ok=True)
            checkpoints, digests = zip(*self._pending, strict=True)
            arrays = rows_of(checkpoints, digests)
            write_segment(self.path, index, arrays)
            self._segments.append({name: arrays[name] for name in ("steps", "losses")})
        self._pending, self._pending_bytes = [], 0
        self._written = time.monotonic()

    def rewind(self, step: int) -> None:
        """Drop everything after a step, for a trainer that goes on from there.

        Parameters
        ----------
        step : int
            Optimizer steps that the trainer has done.

        Raises
        ------
        InputError
            The recording does not reach that far.
        """
        if not self._recording:
            return
        self.flush()
        # What only the end of the recording kept goes too: going on must give what an unbroken run gives.
        wanted = step - step % self._header.every
        if step < 0 or wanted > self._last_step():
            raise InputError(f"{self.path} is recorded up to step {self._last_step()}, so it cannot go on from {step}")
        self.steps = step
        self._last_loss = self._recorded_loss(step)
        if self._header.optimizer.get(CHANGED_AT, 0) > wanted:
            self._describe_optimizer({name: v for name, v in self._header.optimizer.items() if name != CHANGED_AT})
        for index in reversed(range(len(self._segments))):
            facts = self._segments[index]
            kept = int((facts["steps"] <= wanted).sum())
            if kept == len(facts["steps"]):
                break
            if kept:
                header, _ = read_header(self.path)
                write_segment(self.path, index, parts_of(self.path, header, False)[index].rows(0, kept))
                self._segments[index] = {name: array[:kept] for name, array in facts.items()}
            else:
                segment_path(self.path, index).unlink()
                del self._segments[index]

    def _begin(self, there: bool) -> None:
        """Start a new run, in the place of an earlier one if that is allowed."""
        if there and not self._overwrite:
            raise InputError(
                f"{self.path} exists; choose another name, or pass overwrite=True, or resume=True to go on with it"
            )
        if there and not is_trajectory(self.path):
            raise InputError(f"{self.path} is no recorded run, so it is not overwritten; choose another name")
        if not (there or self._overwrite) and segment_paths(self.path)[1:]:
            raise InputError(
                f"{segments_folder(self.path)} holds segments of a run whose index {self.path} is missing: copy it "
                "there again, choose another name, or pass overwrite=True to replace them"
            )
        # In this order a kill leaves the index with fewer segments, or the first segment alone, which anybody may
        # replace; and no index ever stands before segments of another run.
        remove_segments(self.path, keep=1)
        self.path.unlink(missing_ok=True)
        remove_segments(self.path)
        # A scheduler that was made after the recorder has changed the optimizer, perhaps.
        self._header = replace(self._header, optimizer=plain(optimizer_facts(self._optimizer)))
        self._keep(None)
        self.flush()  # before the index: a run that can be opened has a checkpoint
        write_header(self.path, self._header)

    def _continued(self) -> bool:
        """Whether the run that is there could be continued; if not, it may be overwritten."""
        try:
            self._continue()
        except InputError:
            if not self._overwrite:
                raise
            return False
        return True

    def _continue(self) -> None:
        """Open what is there, if it was recorded with the same configuration."""
        header, packed = read_header(self.path)
        if packed:
            raise InputError(f"{self.path} is packed; a packed run cannot go on: record to another file")
        before, now = _identity(header), _identity(self._header)
        if configuration_differences(before, now):
            raise InputError(
                f"{self.path} is a recording of another configuration:\n{differences_in_words(before, now)}\n"
                "go on with that configuration, choose another name, or pass overwrite=True"
            )
        parts = parts_of(self.path, header, False)
        self._header = replace(header, name=self._header.name or header.name, complete=False, checkpoints=0)
        write_header(self.path, self._header)
        for leftover in segments_folder(self.path).glob(".segment-*.part"):
            leftover.unlink(missing_ok=True)
        segment_path(self.path, len(parts)).unlink(missing_ok=True)  # one that cannot be read
        self._segments = [part.facts for part in parts]
        self.steps = self._last_step()
        self._last_loss = self._recorded_loss(self.steps)

    def _recorded_loss(self, step: int) -> float | None:
        """What was recorded at a step, if it was kept."""
        found = [
            float(facts["losses"][facts["steps"] == step][0]) for facts in self._segments if step in facts["steps"]
        ]
        return found[0] if found else None

    def _last_step(self) -> int:
        """Of the last kept checkpoint, -1 if there is none."""
        if self._pending:
            return self._pending[-1][0].step
        return int(self._segments[-1]["steps"][-1]) if self._segments else -1

    def _describe_optimizer(self, facts: Mapping[str, Any]) -> None:
        self._header = replace(self._header, optimizer=facts)
        write_header(self.path, self._header)

    def _keep(self, loss: Any) -> None:
        known = self._header.optimizer
        if self._recording and CHANGED_AT not in known and differ(known, optimizer_facts(self._optimizer)):
            self._describe_optimizer({**known, CHANGED_AT: self.steps})
        checkpoint, digest = snapshot(self._model, self._header, self._optimizer, self._optimizer_state)
        if self._evaluate is not None:
            with undisturbed(self._model):
                value = float(self._evaluate())
        else:
            value = math.nan if loss is None else float(loss)
        checkpoint = replace(checkpoint, step=self.steps, loss=value)
        self._pending.append((checkpoint, digest))
        vectors = [checkpoint.theta, checkpoint.momentum, checkpoint.second_moment, *checkpoint.buffers.values()]
        self._pending_bytes += sum(vector.nbytes for vector in vectors if vector is not None)


def _identity(header: Header) -> dict[str, Any]:
    """What a recording must agree with to be continued; hyper-parameters may have been changed by a schedule."""
    return {
        "parameters": dict(zip(header.names, header.shapes, strict=True)),
        "every": header.every,
        "optimizer": header.optimizer.get("class"),
        "configuration": header.provenance.get("configuration"),
    }


def _first_rank() -> bool:
    """False on the ranks of torch.distributed but the first, whose replicas are the same."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0)
