"""Options that several commands share, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape.zoo import names

Source = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="SOURCE",
        help="FILE.py:function or module:function that returns an Objective, or zoo:NAME of a small trained network: "
        f"{', '.join(names())}.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Argument of that function, a Python literal; may be repeated."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Parameters from a .pt (tensors only), .safetensors or recorded run (.h5)."),
]
At = Annotated[int | None, typer.Option(help="Which checkpoint of a recorded run, from 0; default -1, the last one.")]
Every = Annotated[
    int | None,
    typer.Option(help="Of a recorded run: every so many checkpoints, and the last. Default: 1, all of them."),
]
Operator = Annotated[
    str | None,
    typer.Option(help="hessian, gauss-newton, fisher or gradient-covariance. Default: hessian", metavar="NAME"),
]
Product = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How products of the Hessian are computed: linearized (traced once), compiled, double_backward, "
        "forward_over_reverse or finite_difference. Default: auto, by counting operations",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="bfloat16 or tf32 inside of these products; the deviation is measured."),
]
JobFile = Annotated[
    Path | None, typer.Option("--job", metavar="FILE.toml", help="Read these options from a file; flags win.")
]
Overwrite = Annotated[bool | None, typer.Option("--overwrite", help="Replace a result of another configuration.")]
Samples = Annotated[int | None, typer.Option(help="Size of a random subset of the data. Default: all of it.")]
MicroBatch = Annotated[int | None, typer.Option(help="Samples per forward pass.")]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda. Default: where the model is.")]
Figure = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The figure: .png, .svg or .pdf. Default: the output's name with .png"),
]
NoFigure = Annotated[bool | None, typer.Option("--no-figure", help="Draw no figure.")]
CheckpointSeconds = Annotated[float | None, typer.Option(help="Save the state of the run so often. Default: 60")]
