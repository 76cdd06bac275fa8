"""Options of the commands that look at the loss in a plane or along one of its axes, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    list[Path] | None,
    typer.Option("--run", metavar="RUN.h5", help="A recorded run, to be drawn; may be repeated."),
]
Plane = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="pca (of the runs), eigenvectors (--pairs), gradient (and the first of --pairs), points (--checkpoints), "
        "path (--path), or random (around a checkpoint). Default: the first for which there is what it needs.",
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option(metavar="FILE.h5", help="Result of landscape eigenpairs, for --plane eigenvectors and gradient."),
]
Checkpoints = Annotated[
    tuple[Path, Path, Path] | None,
    typer.Option(metavar="A B C", help="Three checkpoints or recorded runs (their ends), for --plane points."),
]
PathFile = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="FILE.h5",
        help="A path that landscape interpolate --save-path kept, for --plane path: through both minima and what bends "
        "the path.",
    ),
]
Components = Annotated[
    tuple[int, int] | None,
    typer.Option(
        metavar="I J",
        help="Which principal components or eigenvectors, from 1; of eigenvectors -1 is the last, which after "
        "landscape eigenpairs --which both is the smallest. Default: 1 2",
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="Of random directions: filter, layer or none (orthonormal). Default: filter"),
]
Parameters = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Directions among these parameters only, for pca and random planes."),
]
Seed = Annotated[int | None, typer.Option(help="Of random directions. Default: 0")]
Test = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="An Objective of the same model on other data, whose loss and metrics are computed, too. Default with "
        "--test-set: the function of --objective.",
    ),
]
TestSettings = Annotated[
    list[str] | None,
    typer.Option("--test-set", metavar="NAME=VALUE", help="As --set, for the objective of --test; may be repeated."),
]
Quantity = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Compute at every point, too: gradient_norm, or lambda_max (of the Hessian, some fifty times the price of "
        "the loss); may be repeated.",
    ),
]
BatchNorm = Annotated[
    str | None,
    typer.Option(
        "--batchnorm",
        metavar="MODE",
        help="Statistics of batch norm: eval (those of the origin), recompute (of all data at each point) or batch (of "
        "each micro-batch). Default: eval",
    ),
]
