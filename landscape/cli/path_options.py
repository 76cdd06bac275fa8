"""Options of the commands that look at ways between minima, word for word."""

from __future__ import annotations

from typing import Annotated

import typer

PathKind = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="KIND",
        help="linear, spherical, bezier (one control point), cubic (two) or polygon (one bend), fitted to low "
        "loss, or band (nudged elastic band). Default: linear",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data for a path that is fitted.")]
Images = Annotated[int | None, typer.Option(help="Points of an elastic band between the ends.")]
Align = Annotated[
    bool | None,
    typer.Option("--align", help="First permute the neurons of the second minimum so that they match the first."),
]
Matching = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="Match neurons by their weights or by their activations. Default: weights"),
]
Restarts = Annotated[int | None, typer.Option(help="Matchings from so many random orders; the best is kept.")]
BatchNorm = Annotated[
    str | None,
    typer.Option(
        "--batchnorm",
        metavar="MODE",
        help="Statistics of batch norm: eval (between those of the ends) or recompute (of all data at each point). "
        "Default: eval",
    ),
]
Subsamples = Annotated[
    int | None, typer.Option(help="Random parts of the data, from which uncertainty is computed. Default: 50")
]
Seed = Annotated[int | None, typer.Option(help="Of everything random. Default: 0")]
