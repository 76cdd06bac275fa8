"""The TensorBoard hook: what TensorBoard reads back is what was measured, and the training does not notice it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import InputError

pytest.importorskip("tensorboard")
pytestmark = pytest.mark.filterwarnings("ignore")  # of tensorboard's own imports


def data():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(40, 3, generator=generator)
    return inputs, inputs.sum(1, keepdim=True).sin()


def network():
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(5, 1))


def objective(model):
    return ls.Objective(model.eval(), torch.nn.MSELoss(), data())


def train(writer=None, steps=6, **options):
    """Parameters, gradients and random state at the end; the hook."""
    model = network()
    watched = objective(model)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hook = None if writer is None else ls.bridges.TensorBoardHook(writer, model, optimizer, watched, **options)
    torch.manual_seed(2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(data()[0]), data()[1])
        loss.backward()
        optimizer.step()
        if hook is not None:
            hook.step(loss)
    if hook is not None:
        hook.finish()
    values = [value.detach().clone() for value in model.parameters()] + [
        value.grad.clone() for value in model.parameters()
    ]
    return [*values, torch.random.get_rng_state(), torch.tensor(model.training)], hook, model


@pytest.fixture
def written(tmp_path):
    """The hook, the model, and what TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        _, hook, model = train(writer, every=2, measure_every=3, k=2, density=True, measuring={"tol": 1e-3})
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0, "images": 0, "scalars": 0})
    events.Reload()
    return hook, model, events


def test_what_is_read_is_what_was_measured(written):
    hook, model, events = written
    scalars = {name: {one.step: one.value for one in events.Scalars(name)} for name in events.Tags()["scalars"]}
    assert list(scalars["curvature/sharpness"]) == [2, 4, 6]
    rows = {int(row["step"]): row for row in hook.monitor.rows}
    for name in ("sharpness", "threshold"):
        assert np.allclose(list(scalars[f"curvature/{name}"].values()), [row[name] for row in rows.values()])
    assert np.allclose(list(scalars["curvature/threshold"].values()), 2 / 0.1)
    ratio = np.array([row["sharpness"] / row["threshold"] for row in rows.values()])
    assert np.allclose(list(scalars["curvature/sharpness_over_threshold"].values()), ratio)

    hessian = ls.Hessian(objective(model))
    n = hessian.n
    dense = np.linalg.eigvalsh(np.stack([(hessian @ torch.eye(n)[index]).double().numpy() for index in range(n)]))
    assert list(scalars["curvature/eigenvalue_1"]) == [3, 6]
    assert np.isclose(scalars["curvature/eigenvalue_1"][6], dense[-1], rtol=1e-3)
    assert np.isclose(scalars["curvature/eigenvalue_2"][6], dense[-2], rtol=1e-3)
    assert np.isclose(scalars["curvature/sharpness"][6], dense[-1], rtol=0.06)
    assert np.isclose(scalars["curvature/density/lambda_max"][6], dense[-1], rtol=1e-3)

    histogram = events.Histograms("curvature/eigenvalues")[-1].histogram_value
    assert histogram.num == n
    assert np.isclose(sum(histogram.bucket), n)
    assert np.isclose(histogram.sum, dense.sum(), rtol=0.05, atol=0.05)
    image = events.Images("curvature/density")[-1]
    assert (image.width, image.height) > (500, 300)
    assert len(image.encoded_image_string) > 5000


def test_the_training_does_not_notice(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    bare, _, _ = train()
    with SummaryWriter(tmp_path) as writer:
        watched, _, _ = train(writer, every=1, measure_every=2, density=True)
    assert all(torch.equal(one, other) for one, other in zip(bare, watched, strict=True))


class Silent:
    def add_scalar(self, *arguments): ...
    def add_image(self, *arguments, **options): ...
    def add_histogram_raw(self, *arguments, **options): ...


def test_what_is_refused():
    for writer, options, words in (
        (3, {}, "writer must be a torch.utils.tensorboard.SummaryWriter, not int"),
        (Silent(), {"measure_every": 0}, "measure_every must be at least 1"),
        (Silent(), {"sharpness": False}, "measure_every is not given"),
        (Silent(), {"sharpness": False, "measure_every": 2, "overhead": 0.1}, "overhead belong to the sharpness"),
        (Silent(), {"measure_every": 2, "k": 0}, "there is nothing to measure"),
    ):
        with pytest.raises(InputError, match=words):
            train(writer, **options)


def test_sharpness_alone_and_eigenvalues_alone():
    _, hook, _ = train(Silent(), every=3)
    assert (len(hook.monitor.rows), hook.measurement) == (2, None)
    _, hook, _ = train(Silent(), sharpness=False, measure_every=3)
    assert (hook.monitor, len(hook.measurement)) == (None, 2)
    assert hook.measurement.eigen_series("SGD").steps.tolist() == [3, 6]
