"""What every path does: ends, order of parameters, buffers, planes, files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import InputError
from landscape.geometry import Layout, Path
from landscape.records import AlignedCheckpoint, Checkpoint
from tests.geometry.runs import Run

NAMES, SHAPES, N = ("weight", "bias"), ((3, 4), (3,)), 15


def checkpoint(seed: int, dtype: str = "float64", **buffers: np.ndarray) -> Checkpoint:
    return Checkpoint(np.random.default_rng(seed).standard_normal(N).astype(dtype), buffers, NAMES, SHAPES)


def every_kind(a: object, b: object, seed: int = 7) -> list[Path]:
    controls = np.random.default_rng(seed).standard_normal((3, N))
    return [
        ls.LinearPath(a, b),
        ls.SphericalPath(a, b),
        ls.SphericalPath(a, b, origin=controls[0]),
        ls.BezierPath(a, b, controls[:1]),
        ls.BezierPath(a, b, controls[:2].astype(np.float32)),
        ls.PolygonalPath(a, b, controls[:1]),
        ls.PolygonalPath(a, b, controls),
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_straight_line_and_its_continuation(seed, dtype):
    a, b = checkpoint(seed, dtype), checkpoint(seed + 10, dtype)
    path, apart = ls.LinearPath(a, b), b.theta.astype(float) - a.theta
    assert path.length == pytest.approx(np.linalg.norm(apart), rel=1e-14) == path.distance
    for s in (-0.5, 0.0, 0.1, 0.7, 1.0, 1.25):
        assert path.point(s) == pytest.approx(a.theta + s * apart, abs=1e-14)
        assert path.tangent(s) == pytest.approx(apart / np.linalg.norm(apart), abs=1e-14)
    assert path.point(0.3).dtype == path.tangent(0.3).dtype == np.float64
    assert (path.n, path.kind, path.layout) == (N, "linear", Layout(NAMES, SHAPES, N))


def test_every_path_ends_exactly_at_its_ends_and_goes_straight_on():
    a, b = checkpoint(0, "float32"), checkpoint(1, "float32")
    for path in every_kind(a, b):
        assert np.array_equal(path.point(0), a.theta) and np.array_equal(path.point(1), b.theta)
        before = a.theta - 0.25 * path.length * path.tangent(0)
        assert path.point(-0.25) == pytest.approx(before, abs=1e-12)
        assert path.point(1.5) == pytest.approx(b.theta + 0.5 * path.length * path.tangent(1), abs=1e-12)


def test_every_path_is_walked_by_its_length():
    for path in every_kind(checkpoint(3), checkpoint(4)):
        fine = np.stack([path.point(s) for s in np.linspace(0, 1, 401)])
        steps = np.linalg.norm(np.diff(fine, axis=0), axis=1)
        # A step over a corner is cut short; nothing else is.
        corners = len(path.controls) if path.kind == "polygon" else 0
        assert np.sort(steps)[corners:] == pytest.approx(path.length / 400, rel=1e-4)
        assert path.length * (1 - 1e-5 - corners / 400) < steps.sum() < path.length * (1 + 1e-12)
        for s in (0.0, 0.123, 0.5, 0.77, 1.0):
            assert np.linalg.norm(path.tangent(s)) == pytest.approx(1)


def test_tangents_are_derivatives():
    for path in every_kind(checkpoint(5), checkpoint(6)):
        for s in (0.05, 0.3, 0.61, 0.93):
            difference = (path.point(s + 1e-5) - path.point(s - 1e-5)) / (2e-5 * path.length)
            assert path.tangent(s) == pytest.approx(difference, abs=1e-6), path.kind


def test_ends_may_be_anything_that_stands_for_a_point():
    model = torch.nn.Linear(4, 3)
    objective = ls.Objective(model, torch.nn.MSELoss(), (torch.ones(5, 4), torch.zeros(5, 3)))
    theta = objective.theta.numpy()
    run = Run(np.stack([theta, theta + 1, theta + 2]), NAMES, SHAPES)
    for a in (objective, objective.theta, theta, Checkpoint(theta, {}, NAMES, SHAPES)):
        path = ls.LinearPath(a, run, names=("start", "end"))
        assert np.array_equal(path.point(0), theta.astype(float)) and path.point(1) == pytest.approx(theta + 2)
        assert path.names == ("start", "end") and path.layout.names == NAMES
        assert path.source == "straight line from start to end"


def test_the_second_end_and_the_controls_come_in_any_order_of_parameters():
    a, b, c = (checkpoint(seed) for seed in range(3))
    turned = [Checkpoint(np.roll(one.theta, 3), {}, NAMES[::-1], SHAPES[::-1]) for one in (b, c)]
    path, same = ls.BezierPath(a, turned[0], [turned[1]]), ls.BezierPath(a, b, [c])
    assert np.array_equal(path.point(0.3), same.point(0.3)) and path.digest() == same.digest()
    other = Layout(NAMES[::-1], SHAPES[::-1], N)
    for one in every_kind(a, b):
        there = one.aligned(other)
        assert there.kind == one.kind and there.layout == other and one.aligned(one.layout) is one
        assert there.point(0.4) == pytest.approx(np.roll(one.point(0.4), 3), abs=1e-12)
        assert there.length == pytest.approx(one.length, rel=1e-13)


def test_buffers_lie_between_those_of_the_ends():
    mask = np.array([0.0, -np.inf], np.float32)
    a = checkpoint(0, mean=np.array([0.0, 2.0], np.float32), seen=np.array(10), mask=mask)
    b = checkpoint(1, mean=np.array([1.0, 4.0], np.float32), seen=np.array(30), mask=mask)
    path = ls.LinearPath(a, b)
    for s, mean, seen in (
        (-1, [0, 2], 10),
        (0, [0, 2], 10),
        (0.25, [0.25, 2.5], 10),
        (0.75, [0.75, 3.5], 30),
        (2, [1, 4], 30),
    ):
        found = path.buffers(s)
        assert found["mean"].tolist() == mean and found["mean"].dtype == np.float32
        assert found["seen"] == seen and found["seen"].dtype.kind == "i"
        assert np.array_equal(found["mask"], mask)
    bare = ls.LinearPath(a, b.theta)  # a vector has none
    assert bare.buffers(0.9)["mean"].tolist() == [0, 2]


def test_a_path_comes_back_from_its_file_bit_by_bit(tmp_path):
    a = checkpoint(0, mean=np.array([0.0, 2.0]), seen=np.array(10))
    b = checkpoint(1, mean=np.array([1.0, 4.0]), seen=np.array(30))
    for path in every_kind(a, b):
        assert pickle.loads(pickle.dumps(path)).describe() == path.describe()  # noqa: S301  # as ranks do
        assert str(path.n) in repr(path) and path.source in repr(path)
        path.fit_loss, path.provenance = np.array([2.0, 1.0]), {"seed": 3}
        record = ls.load(path.save(tmp_path / "path.h5"))
        assert type(record).__name__ == "ControlPoints" and record.length == path.length
        again = Path.of(record)
        assert type(again) is type(path) and again.describe() == path.describe()
        for s in (-0.1, 0.0, 0.37, 0.5, 1.0, 1.1):
            assert np.array_equal(again.point(s), path.point(s)) and np.array_equal(again.tangent(s), path.tangent(s))
        assert all(np.array_equal(again.buffers(0.3)[name], value) for name, value in path.buffers(0.3).items())
        assert again.fit_loss.tolist() == [2, 1] and again.provenance == {"seed": 3}
        with pytest.raises(InputError, match="no picture of its own"):
            record.plot()


def test_the_digest_tells_paths_apart():
    a, b = checkpoint(0, mean=np.zeros(2)), checkpoint(1, mean=np.ones(2))
    digests = [path.digest() for path in every_kind(a, b)]
    digests += [path.digest() for path in every_kind(b, a)]
    digests += [path.digest() for path in every_kind(a, checkpoint(1, mean=np.full(2, 2.0)))]
    digests += [path.digest() for path in every_kind(a, checkpoint(2, mean=np.ones(2)))]
    digests += [path.digest() for path in every_kind(a, b, seed=8)[2:]]
    assert len(set(digests)) == len(digests)
    assert ls.LinearPath(a, b, names=("x", "y")).digest() == digests[0]


def test_the_plane_holds_the_ends_and_the_farthest_control_point():
    a, b = checkpoint(0, mean=np.zeros(2)), checkpoint(1, mean=np.ones(2))
    for path in every_kind(a, b)[1:]:
        plane = path.plane()
        assert plane.anchors["A"].tolist() == [0, 0]
        assert plane.anchors["B"] == pytest.approx([path.distance, 0], abs=1e-12)
        control = plane.anchor_points["control"]
        assert plane.residual(control.theta) == pytest.approx(0, abs=1e-12) and plane.anchors["control"][1] > 0
        assert plane.directions @ plane.directions.T == pytest.approx(np.eye(2), abs=1e-14)
        assert set(control.buffers) == {"mean"}
        s = np.array([-0.2, 0, 0.3, 0.5, 1, 1.1])
        points = np.stack([path.point(one) for one in s])
        assert path.coordinates(s) == pytest.approx(plane.coordinates(points), abs=1e-12)
        if len(path.controls) == 1 or path.kind == "spherical":
            assert plane.residual(points) == pytest.approx(0, abs=1e-12)
        if path.kind in ("bezier", "polygon"):
            away = ls.LinearPath(a, b)
            along = away.tangent(0)
            heights = [np.linalg.norm(v - along * (along @ v)) for v in path.controls - a.theta]
            assert plane.anchors["control"][1] == pytest.approx(max(heights))


def test_a_straight_path_needs_a_direction_for_its_plane():
    path = ls.LinearPath(checkpoint(0), checkpoint(1), names=("SGD", "Adam"))
    with pytest.raises(InputError, match=r"straight path lies in no plane.*across=vector"):
        path.plane()
    assert path.coordinates([0.0, 0.5]).shape == (0, 2)
    across = np.random.default_rng(3).standard_normal(N)
    plane = path.plane(across=across)
    assert plane.anchors["Adam"] == pytest.approx([path.distance, 0], abs=1e-12)
    assert plane.residual(path.point(0.3) + 2 * across) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="span no plane"):
        path.plane(across=path.tangent(0))
    on_the_line = ls.BezierPath(path.ends[0], path.ends[1], [path.point(0.3)])
    with pytest.raises(InputError, match="straight path"):
        on_the_line.plane()


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros(3), np.zeros(3), "A and B are the same point"),
        (
            np.zeros(3),
            AlignedCheckpoint(np.zeros(3), permutations={"weight[0]": np.array([1, 0])}),
            "B is A with its neurons in another order",
        ),
        (np.zeros(3), np.zeros(4), "A has n = 3 parameters, but B has 4"),
        (np.zeros(3), np.array([0, np.nan, np.inf]), "B holds NaN or inf at 2 of 3 places"),
        ("a.pt", np.zeros(3), "A must be a checkpoint.*the text 'a.pt'.*Trajectory"),
        (np.zeros(3), {"weight": 1}, "B must be a checkpoint.*state dict.*objective.at"),
        (np.zeros((2, 3)), np.zeros(3), r"A must be a checkpoint.*of shape \(2, 3\)"),
        (None, np.zeros(3), "A must be a checkpoint.*NoneType"),
        (Run(np.zeros((0, 3))), np.zeros(3), "A is a run without checkpoints"),
        (
            checkpoint(0),
            Checkpoint(np.zeros(N), {}, NAMES, ((4, 3), (3,))),
            r"of different models: parameter 'weight' has shape \(3, 4\) in A, but \(4, 3\) in B",
        ),
        (checkpoint(0), Checkpoint(np.zeros(3), {}, ("bias",), ((3,),)), "B has no parameter 'weight'"),
        (checkpoint(0, mean=np.zeros(2)), checkpoint(1, other=np.zeros(2)), "B has no buffer 'mean'"),
        (checkpoint(0, mean=np.zeros(2)), checkpoint(1, mean=np.zeros(3)), r"buffer 'mean' has shape \(2,\) in A"),
    ],
)
def test_ends_that_cannot_be_joined(a, b, message):
    with pytest.raises(InputError, match=message):
        ls.LinearPath(a, b)


def test_other_input_that_cannot_be_used():
    a, b = np.zeros(3), np.ones(3)
    for names in ("AB", ("A",), ("A", "A"), ("A", ""), None, 3):
        with pytest.raises(InputError, match="names must be two different names"):
            ls.LinearPath(a, b, names=names)
    with pytest.raises(InputError, match="may not be called 'control'"):
        ls.LinearPath(a, b, names=("start", "control"))
    path = ls.LinearPath(a, b)
    for s in (np.nan, np.inf, "0.5", [0.1, 0.2], None):
        with pytest.raises(InputError, match="s must be one finite number"):
            path.point(s)
    for kind in (ls.BezierPath, ls.PolygonalPath):
        with pytest.raises(InputError, match="or use LinearPath"):
            kind(a, b, [])
        with pytest.raises(InputError, match=r"for a single one write \[control\]"):
            kind(a, b, np.ones(3))
        with pytest.raises(InputError, match="control point 2 has 4"):
            kind(a, b, [np.ones(3), np.ones(4)])
        with pytest.raises(InputError, match="control point 1 holds NaN"):
            kind(a, b, [np.full(3, np.nan)])
    with pytest.raises(InputError, match="A is the origin"):
        ls.SphericalPath(a, b)
    with pytest.raises(InputError, match="opposite sides of the origin"):
        ls.SphericalPath(-b, b)
    with pytest.raises(InputError, match=r"made of its control points.*not of Checkpoint"):
        Path.of(checkpoint(0))


def test_a_path_says_how_its_end_was_aligned(tmp_path):
    matched = AlignedCheckpoint(
        **vars(checkpoint(1)), permutations={"weight[0]": np.array([1, 0, 2])}, method="weights"
    )
    path = ls.BezierPath(checkpoint(0), matched, checkpoint(2).theta[None])
    assert path.alignment == "weights" and path.source.endswith("from A to B, its neurons matched by weights")
    again = Path.of(ls.load(path.save(tmp_path / "path.h5")))
    assert (again.alignment, again.source) == (path.alignment, path.source)
    assert ls.LinearPath(checkpoint(0), checkpoint(1)).alignment == ""


@pytest.mark.parametrize("kind", ["bezier", "polygon", "spherical"])
def test_statistics_go_with_the_parameter_of_the_curve(kind):
    a, b = checkpoint(0, mean=np.zeros(2)), checkpoint(1, mean=np.ones(2))
    # Both curves stay near the first end for long: their parameter runs ahead of their length.
    near = a.theta + 0.01 * (b.theta - a.theta)
    path = {
        "bezier": lambda: ls.BezierPath(a, b, near[None]),
        "polygon": lambda: ls.PolygonalPath(a, b, near[None]),
        "spherical": lambda: ls.SphericalPath(a, b),
    }[kind]()
    for s in (0.0, 0.2, 0.5, 0.9, 1.0):
        assert path.buffers(s)["mean"] == pytest.approx(np.full(2, path.parameter(s)), abs=1e-14)
    assert (path.parameter(0.0), path.parameter(1.0)) == (0.0, 1.0)
    if kind == "polygon":  # a piece of a hundredth of the length takes half of the parameter
        assert path.parameter(0.01) == pytest.approx(0.5, abs=1e-9)
    if kind == "bezier":  # theta = 2 t (1 - t) near + t² b along a line
        t = path.parameter(0.5)
        assert 2 * t * (1 - t) * 0.01 + t**2 == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize(
    ("corners", "named"), [((0,), "A and corner 1"), ((1,), "corner 1 and B"), ((2, 2), "corner 1 and corner 2")]
)
def test_corners_of_a_chain_are_apart(corners, named):
    points = [checkpoint(seed) for seed in range(3)]
    with pytest.raises(InputError, match=f"{named} of the chain are the same point"):
        ls.PolygonalPath(points[0], points[1], [points[place] for place in corners])
