"""`landscape train`: train a network with any optimizer and record the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from landscape.cli import options


def train(
    objective: options.Source = None,
    settings: options.Settings = None,
    checkpoint: options.Checkpoint = None,
    at: options.At = None,
    job: options.JobFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="The recorded run. Default: train.h5")
    ] = None,
    overwrite: options.Overwrite = None,
    optimizer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="sgd, adam, adamw, prox_sgd, ... or one of a plug-in package. Default: sgd"),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate. Default: the optimizer's own; 0.1 for sgd")] = None,
    optimizer_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer-set",
            metavar="NAME=VALUE",
            help="Option of the optimizer, such as momentum=0.9; may be repeated.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data. Default: 10")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples per step, at most. Default: 64")] = None,
    every: Annotated[
        int | None, typer.Option(help="Record every so many steps. Default: about 200 checkpoints in all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order of the samples and of dropout. Default: 0")] = None,
    finalize: Annotated[
        bool | None,
        typer.Option("--finalize/--no-finalize", help="Whether prox_sgd makes exact zeros at the end. Default: yes"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Label in figures. Default: the optimizer's class.")] = None,
    samples: options.Samples = None,
    micro_batch: options.MicroBatch = None,
    device: options.Device = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
) -> int:
    """Train a network on its objective's data in seeded mini-batches, and record its way for the other commands.

    A network of the zoo starts untrained. The same command again continues a training that was interrupted, with the
    same bits, and recognizes one that is complete.
    """
    own = ("job", "settings", "optimizer_settings")
    flags: dict[str, Any] = {key: value for key, value in locals().items() if key not in (*own, "own")}
    from landscape.cli.job import parse_settings, read_job
    from landscape.cli.jobs.train import TrainCommand, TrainJob
    from landscape.cli.running import run

    flags["set"] = parse_settings(settings) if settings else None
    if optimizer_settings:
        flags["optimizer_set"] = parse_settings(optimizer_settings, "--optimizer-set", "the optimizer")
    return run(TrainCommand(read_job(TrainJob, job, flags)))
