"""How planes are made: from runs, eigenvectors, chance, points, a gradient, or vectors of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landscape._arguments import check_whole
from landscape.errors import InputError
from landscape.geometry.directions import (
    NORMALIZATIONS,
    filter_normalized,
    gaussian_directions,
    layer_normalized,
    orthonormal,
    signed,
)
from landscape.geometry.layout import Layout, Selection, layout_of
from landscape.geometry.points import buffers_of, direction_of, last_of, vector_of
from landscape.geometry.principal import principal_components
from landscape.geometry.products import dot, norm

if TYPE_CHECKING:
    from landscape.records import EigenPairs
    from landscape.trajectory import Trajectory

Array = NDArray[np.float64]
Extent = tuple[float, float, float, float]
Fields = dict[str, Any]  # of a Plane

DISTANCE = "distance in parameter space"
# An eigenvector is drawn this far at least relative to the other one: a curvature of zero has no scale of its own.
FLATTEST = 10.0
# What tells the objective of eigenpairs from another one, beside its loss.
CURVATURE_OF = ("data_sha256", "weight_decay")
# What figures call an operator.
OPERATORS = {"hessian": "Hessian", "gauss_newton": "Gauss-Newton matrix", "empirical_fisher": "empirical Fisher matrix"}


def of_components(
    several: tuple[Trajectory, ...], parameters: Selection, origin: str, components: tuple[int, int]
) -> Fields:
    """The plane of two principal components; see :meth:`Plane.pca`."""
    if not several:
        raise InputError("a plane through runs needs at least one run")
    if origin not in ("last", "mean"):
        raise InputError(f'origin must be "last" or "mean", not {origin!r}')
    if len(set(components)) != 2 or min(components) < 1:
        raise InputError(f"components must be two different numbers from 1 on, not {tuple(components)}")
    last = several[0][-1]
    reference = vector_of(last)
    if not np.isfinite(reference).all():
        raise InputError(
            f"the last checkpoint (step {last.step}) of the run {several[0].name} holds NaN or inf: the run "
            "diverged, and cannot be the origin of a plane"
        )
    layout = layout_of(several[0], len(reference))
    mask = layout.selected(parameters, reference)
    found = principal_components(several, layout, reference, mask, [number - 1 for number in components])
    first, second = (signed(direction) for direction in found.directions)
    directions = orthonormal(first, second, "the principal components")
    turned = np.array([dot(a, b) for a, b in zip(directions, found.directions, strict=True)])
    coordinates = found.coordinates * np.sign(turned)
    if origin == "last":
        coordinates = coordinates - coordinates[len(several[0]) - 1]
    of_what = f"run {several[0].name}" if len(several) == 1 else f"{len(several)} runs"
    of_what += f", parameters {_chosen(parameters)}" if parameters is not None else ""
    return {
        "origin": reference if origin == "last" else found.mean.astype(reference.dtype),
        "directions": directions,
        "axes": (f"pca_{components[0]}", f"pca_{components[1]}"),
        "axis_sources": tuple(f"principal component {number} of {of_what}" for number in components),
        "kind": "pca",
        "names": layout.names,
        "shapes": layout.shapes,
        "buffers": dict(last.buffers),
        "explained_variance": found.shares,
        "explained_variance_null": found.null,
        "anchor_points": {"origin": last} if origin == "last" else {},
        "runs": several,
        "parameters": _chosen(parameters),
        "extent": _box(coordinates),
    }


def of_eigenvectors(pairs: EigenPairs, indices: tuple[int, int] | str) -> Fields:
    """The plane of two eigenvectors; see :meth:`Plane.eigenvectors`."""
    if not np.size(pairs.theta):
        raise InputError("these eigenpairs do not know where they were computed: their operator has no objective")
    columns = list(_columns(pairs, indices))
    first, second = np.asarray(pairs.vectors)[:, columns].T.astype(float)
    values = np.asarray(pairs.values, float)[columns]
    reach = _reaches(np.zeros(2), values, pairs.loss)
    # Eigenvalues of any other matrix are not the second derivatives of the loss along its eigenvectors.
    known = pairs.operator == "hessian"
    configuration = pairs.provenance.get("configuration", {})
    facts = {name: configuration[name] for name in CURVATURE_OF if name in configuration}
    return {
        "origin": np.asarray(pairs.theta),
        "directions": orthonormal(first, second, "the eigenvectors"),
        "axes": (eigenvector_name(pairs, columns[0]), eigenvector_name(pairs, columns[1])),
        "axis_sources": (eigenvector_source(pairs, columns[0]), eigenvector_source(pairs, columns[1])),
        "kind": "eigenvectors",
        "names": tuple(pairs.parameters),
        "shapes": tuple(tuple(shape) for shape in pairs.parameters.values()),
        "buffers": dict(pairs.buffers),
        "curvature": values if known else np.full(2, np.nan),
        "curvature_of": {**facts, "loss": pairs.loss} if known else {},
        "extent": _around(reach),
    }


def eigenvector_name(pairs: EigenPairs, index: int) -> str:
    """Name of an axis: "eigenvector_1" is that of the largest eigenvalue, "eigenvector_n" that of the smallest."""
    rank = _rank(pairs, index)
    return f"eigenvector_{rank}" if rank > 0 else f"eigenvector_n{rank + 1 or ''}"


def eigenvector_source(pairs: EigenPairs, index: int) -> str:
    """Which eigenvector, its eigenvalue and residual."""
    rank = _rank(pairs, index)
    operator = OPERATORS.get(pairs.operator, pairs.operator)
    order = " by magnitude" if pairs.which == "magnitude" else ""
    if rank < 0:
        order, rank = " from the smallest", -rank
    late = "" if pairs.converged[index] else ", not converged"
    return (
        f"eigenvector {rank}{order} of the {operator}, λ = {pairs.values[index]:.4g}, residual "
        f"{pairs.residuals[index]:.1g}{late}"
    )


def at_random(objective: Any, seed: int, normalize: str | None, parameters: Selection) -> Fields:
    """The plane of two random directions; see :meth:`Plane.random`."""
    if normalize not in NORMALIZATIONS:
        raise InputError(f'normalize must be "filter", "layer" or None, not {normalize!r}')
    check_whole("seed", seed, 0)
    theta = vector_of(objective)
    layout = layout_of(objective, len(theta))
    mask = layout.selected(parameters, theta)
    directions = gaussian_directions(len(theta), 2, seed)
    if normalize is not None:
        if not layout.names:
            raise InputError(
                f"{normalize} normalization needs the names and shapes of the parameters: give an objective"
            )
        scaled = filter_normalized if normalize == "filter" else layer_normalized
        directions = np.stack([scaled(direction, theta, layout) for direction in directions])
    if mask is not None:
        directions = np.where(mask, directions, 0.0)
    if not directions.any(axis=1).all():
        raise InputError(
            f"nothing is left of the random directions: {normalize} normalization keeps biases and norm layers, and "
            "these are all that is chosen, or theta is zero; use normalize=None"
        )
    reach = 1.0
    if normalize is None:
        directions = orthonormal(directions[0], directions[1], "the random directions")
        reach = norm(theta) or 1.0
    among = f", among the parameters {_chosen(parameters)}" if parameters is not None else ""
    source = f"random, seed {seed}, {NORMALIZATIONS[normalize]}{among}"
    return {
        "origin": theta,
        "directions": directions,
        "axes": ("random_1", "random_2"),
        "axis_sources": (source, source),
        "kind": "random",
        "names": layout.names,
        "shapes": layout.shapes,
        "buffers": buffers_of(objective),
        "unit": DISTANCE if normalize is None else f"norms of the {normalize}s",
        "parameters": _chosen(parameters),
        "extent": (-reach, reach, -reach, reach),
    }


def through_points(a: Any, b: Any, c: Any) -> Fields:
    """The plane through three points; see :meth:`Plane.through`."""
    points = {"a": last_of(a), "b": last_of(b), "c": last_of(c)}
    vectors = {name: vector_of(point) for name, point in points.items()}
    layouts = {name: layout_of(point, len(vectors[name])) for name, point in points.items()}
    # A bare vector has no names: any of the others may know them.
    layout = next((one for one in layouts.values() if one.names), layouts["a"])
    for name, other in layouts.items():
        places = layout.places_of(other, "one of the points", f"point {name}")
        vectors[name] = vectors[name] if places is None else vectors[name][places]
    origin = vectors["a"]
    differences = [vectors[name].astype(float) - origin for name in ("b", "c")]
    directions = orthonormal(differences[0], differences[1], "the three points (two of them are the same, or all)")
    anchors = {"a": np.zeros(2)}
    for name, difference in zip(("b", "c"), differences, strict=True):
        anchors[name] = np.array([dot(direction, difference) for direction in directions])
    return {
        "origin": origin,
        "directions": directions,
        "axes": ("a to b", "across"),
        "axis_sources": ("from point a to point b", "from point a to point c, perpendicular to the first"),
        "kind": "points",
        "names": layout.names,
        "shapes": layout.shapes,
        "buffers": buffers_of(points["a"]),
        "anchors": anchors,
        "anchor_points": points,
        "extent": _box(np.stack(list(anchors.values()))),
    }


def along_gradient(objective: Any, pairs: EigenPairs, index: int) -> Fields:
    """The plane of the gradient and an eigenvector (collective); see :meth:`Plane.gradient`."""
    from landscape.curvature import Hessian

    if not np.size(pairs.theta):
        raise InputError("these eigenpairs do not know where they were computed: their operator has no objective")
    if not -len(pairs) <= index < len(pairs):
        raise InputError(f"index must be from 0 to {len(pairs) - 1}, or from -1 (the last) on, not {index}")
    index %= len(pairs)
    layout = layout_of(objective, objective.n)
    theirs = Layout(tuple(pairs.parameters), tuple(tuple(s) for s in pairs.parameters.values()), len(pairs.theta))
    places = layout.places_of(theirs, "the objective", "the eigenpairs")
    theta, vector = np.asarray(pairs.theta), np.asarray(pairs.vectors)[:, index].astype(float)
    if places is not None:
        theta, vector = theta[places], vector[places]
    there = objective.at(theta, dict(pairs.buffers) or None)
    slope = there.gradient().cpu().numpy().astype(float)
    length = norm(slope)
    if length == 0:
        raise InputError("the gradient is zero there, so it has no direction; use Plane.eigenvectors(pairs)")
    directions = orthonormal(slope, vector, "the gradient and the eigenvector").astype(theta.dtype)
    hessian = Hessian(there)
    curvature = np.array([dot(one, _times(hessian, one)) for one in directions])
    slopes = np.array([dot(one, slope) for one in directions])
    name = eigenvector_name(pairs, index)
    return {
        "origin": theta,
        "directions": directions,
        "axes": ("gradient", name),
        "axis_sources": (
            f"gradient of the loss, norm {length:.4g}",
            f"{eigenvector_source(pairs, index)}, perpendicular to the gradient",
        ),
        "kind": "gradient",
        "names": layout.names,
        "shapes": layout.shapes,
        "buffers": buffers_of(there),
        "curvature": curvature,
        "extent": _around(_reaches(slopes, curvature, pairs.loss)),
    }


def along_vectors(
    objective: Any,
    u: Any,
    v: Any,
    axes: tuple[str, str],
    orthonormalize: bool,
    sources: tuple[str, str] | None,
) -> Fields:
    """The plane of two vectors of the user's; see :meth:`Plane.along`."""
    theta = vector_of(objective)
    layout = layout_of(objective, len(theta))
    if len(tuple(axes)) != 2 or axes[0] == axes[1] or not all(axes):
        raise InputError(f"axes must be two different names, not {tuple(axes)}")
    given = np.stack([direction_of(one, layout, name) for one, name in zip((u, v), axes, strict=True)])
    if not given.any(axis=1).all():
        raise InputError(f"the direction {axes[0] if not given[0].any() else axes[1]} is zero")
    lengths = [norm(one) for one in given]
    unit, directions = DISTANCE, orthonormal(given[0], given[1], f"the directions {axes[0]} and {axes[1]}")
    words = ("given by the user", f"given by the user, perpendicular to {axes[0]}")
    if not orthonormalize:
        unit, directions, lengths = "lengths of the given directions", given, [1.0, 1.0]
        words = ("given by the user", "given by the user")
    return {
        "origin": theta,
        "directions": directions,
        "axes": (str(axes[0]), str(axes[1])),
        "axis_sources": tuple(map(str, sources)) if sources is not None else words,
        "kind": "custom",
        "names": layout.names,
        "shapes": layout.shapes,
        "buffers": buffers_of(objective),
        "unit": unit,
        "extent": _around(np.array(lengths)),
    }


def _columns(pairs: EigenPairs, indices: tuple[int, int] | str) -> tuple[int, int]:
    """Which columns of the vectors are meant."""
    count = len(pairs.values)
    if indices == "ends":
        if pairs.which != "both" and count < pairs.n:
            raise InputError(
                f'"ends" needs the largest and the smallest eigenvalue, but these pairs are the {pairs.which}: '
                'compute them with eigenpairs(operator, k, which="both")'
            )
        indices = (int(np.argmax(pairs.values)), int(np.argmin(pairs.values)))
    if isinstance(indices, str):
        raise InputError(f'indices must be two numbers or "ends", not {indices!r}')
    places = [int(index) for index in indices]
    wrapped = [index + count if index < 0 else index for index in places]
    if len(set(wrapped)) != 2 or not all(0 <= index < count for index in wrapped):
        raise InputError(
            f"indices must be two different numbers from 0 to {count - 1}, or from -1 (the last) to -{count}, not "
            f"{tuple(indices)}"
        )
    return wrapped[0], wrapped[1]


def _rank(pairs: EigenPairs, index: int) -> int:
    """Number of an eigenvalue from the largest on, from 1; of those at the lower end from the smallest on, negative."""
    if pairs.which == "smallest":
        return -(index + 1)
    if pairs.which == "both" and index >= (len(pairs.values) + 1) // 2:
        return index - len(pairs.values)
    return index + 1


def _reaches(slopes: Array, curvature: Array, loss: float) -> Array:
    """How far along each axis the quadratic changes by the loss itself, or by 1 if that is larger."""
    rise = max(abs(loss), 1.0) if np.isfinite(loss) else 1.0
    slopes, bent = np.abs(slopes), np.abs(curvature)
    # The positive root of slope r + ½ curvature r² = rise, in the form without cancellation.
    roots = slopes + np.sqrt(slopes**2 + 2 * bent * rise)
    reach = np.divide(2 * rise, roots, out=np.full(2, np.inf), where=roots > 0)
    shortest = float(reach.min()) if np.isfinite(reach.min()) else 1.0
    return np.asarray(np.minimum(reach, FLATTEST * shortest))


def _times(hessian: Any, direction: NDArray[Any]) -> Array:
    import torch

    vector = torch.from_numpy(np.ascontiguousarray(direction)).to(hessian.device, hessian.dtype)
    product: Array = (hessian @ vector).double().cpu().numpy()
    return product


def _chosen(parameters: Selection) -> str:
    """A selection of parameters in a few words."""
    if parameters is None:
        return ""
    if isinstance(parameters, str):
        return parameters
    return "that a function chose" if callable(parameters) else ", ".join(parameters)


def _around(reach: Array) -> Extent:
    return -float(reach[0]), float(reach[0]), -float(reach[1]), float(reach[1])


def _box(coordinates: Array) -> Extent:
    """The smallest rectangle around some points, and the origin."""
    low = np.minimum(coordinates.min(0), 0.0)
    high = np.maximum(coordinates.max(0), 0.0)
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])
