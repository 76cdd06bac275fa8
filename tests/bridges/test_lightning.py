"""The Lightning callback: what it records is what a plain loop gives, and the training does not notice it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import InputError

pytest.importorskip("lightning")
pytest.importorskip("pytorch_lightning")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own

SAMPLES, BATCH = 48, 8
STEPS = SAMPLES // BATCH


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, 3, generator=generator)
    return inputs, inputs.prod(1, keepdim=True).tanh()


def network():
    torch.manual_seed(7)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 6), torch.nn.BatchNorm1d(6), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(6, 1)
    )


def module_class(package):
    """The same module for either package; one learning rate, momentum, no shuffling."""

    class Module(importlib.import_module(package).LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network()

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.mse_loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    return Module


def loader(seed=0):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data(seed)), batch_size=BATCH)


def fit(package, callbacks, epochs=2, **options):
    module = module_class(package)()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = importlib.import_module(package).Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=callbacks, **quiet, **options
    )
    torch.manual_seed(11)
    trainer.fit(module, loader())
    return module


def plain_loop(epochs=2, accumulate=1):
    """Thetas and losses at every optimizer step, by hand."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(11)

    def theta():
        return torch.cat([value.detach().reshape(-1) for value in model.parameters()]).numpy()

    thetas, losses = [theta()], [np.nan]
    for _ in range(epochs):
        # As Lightning's loop does it: one random number for the iterator of the loader.
        for index, (inputs, targets) in enumerate(iter(loader())):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            (loss / accumulate).backward()
            if (index + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                thetas.append(theta())
                losses.append(loss.item())
    return np.stack(thetas), np.array(losses)


def objective(model):
    return ls.Objective(model, torch.nn.MSELoss(), data(), samples=None)


def state(module):
    return [value.clone() for value in module.state_dict().values()] + [torch.random.get_rng_state()]


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_what_is_recorded_is_what_a_plain_loop_gives(tmp_path, package):
    fit(package, [ls.bridges.LightningRecorder(tmp_path / "run.h5", part="model")])
    run = ls.Trajectory(tmp_path / "run.h5")
    thetas, losses = plain_loop()
    assert run.complete
    assert run.steps.tolist() == list(range(2 * STEPS + 1))
    assert np.array_equal(np.stack([one.theta for one in run]), thetas)
    assert np.allclose(run.losses, losses, rtol=1e-6, equal_nan=True)
    assert run.optimizer["class"] == "SGD"
    assert run.names[0] == "0.weight"
    assert (run.learning_rates == 0.05).all()


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_the_training_does_not_notice(tmp_path, package):
    bare = state(fit(package, []))
    callback = ls.bridges.LightningRecorder(
        tmp_path / "run.h5", part="model", objective=objective, measure_every=4, k=2, density=True
    )
    watched = state(fit(package, [callback]))
    assert all(torch.equal(one, other) for one, other in zip(bare, watched, strict=True))


def test_eigenvalues_and_densities_are_those_along_the_run(tmp_path):
    callback = ls.bridges.LightningRecorder(
        tmp_path / "run.h5", every=5, part="model", objective=objective, measure_every=5, k=2, density=True,
        measuring={"tol": 1e-3}, name="momentum",
    )  # fmt: skip
    fit("lightning.pytorch", [callback])
    run = ls.Trajectory(tmp_path / "run.h5")
    series = ls.load(tmp_path / "run-eigenvalues.h5")
    densities = ls.load(tmp_path / "run-densities.h5")
    along = ls.eigenpairs_along(run, objective(network().eval()), k=2)
    assert series.steps.tolist() == densities.steps.tolist() == run.steps.tolist() == [0, 5, 10, 12]
    assert series.theta_sha256.tolist() == run.digests.tolist()
    assert np.allclose(series.values, along.values, rtol=1e-3)
    assert series.converged.all()
    assert np.allclose(series.loss, along.loss)
    assert (series.run, series.operator) == ("momentum", "hessian")
    dense = np.linalg.eigvalsh(dense_hessian(run[1]))
    assert np.allclose(series.values[1], dense[::-1][:2], rtol=1e-3)
    assert np.isclose(densities[1].lambda_max, dense[-1], rtol=1e-3)


def dense_hessian(checkpoint):
    here = objective(network().eval()).at(checkpoint)
    hessian = ls.Hessian(here)
    return np.stack([(hessian @ torch.eye(here.n)[index]).double().numpy() for index in range(here.n)])


def test_accumulated_gradients_make_one_step(tmp_path):
    fit("lightning.pytorch", [ls.bridges.LightningRecorder(tmp_path / "run.h5")], accumulate_grad_batches=2)
    run = ls.Trajectory(tmp_path / "run.h5")
    thetas, _ = plain_loop(accumulate=2)
    assert run.steps.tolist() == list(range(STEPS + 1))
    assert np.array_equal(np.stack([one.theta for one in run]), thetas)
    assert run.names[0] == "model.0.weight"


def test_an_exception_leaves_what_was_recorded(tmp_path):
    from lightning.pytorch import Callback

    class Break(Callback):
        def on_train_batch_end(self, trainer, *others):
            if trainer.global_step == 4:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fit("lightning.pytorch", [ls.bridges.LightningRecorder(tmp_path / "run.h5"), Break()])
    run = ls.Trajectory(tmp_path / "run.h5")
    assert not run.complete and run.steps.tolist() == [0, 1, 2, 3, 4]


def test_a_training_that_goes_on_goes_on_in_the_recording(tmp_path):
    import lightning

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}

    def trainer(epochs, **options):
        callback = ls.bridges.LightningRecorder(tmp_path / "run.h5", **options)
        return lightning.Trainer(max_epochs=epochs, callbacks=[callback], enable_checkpointing=False, **quiet)

    first = trainer(1)
    first.fit(module_class("lightning.pytorch")(), loader())
    first.save_checkpoint(tmp_path / "model.ckpt")
    before = np.stack([one.theta for one in ls.Trajectory(tmp_path / "run.h5")])
    module = module_class("lightning.pytorch")()
    trainer(2, resume=True).fit(module, loader(), ckpt_path=tmp_path / "model.ckpt", weights_only=False)
    run = ls.Trajectory(tmp_path / "run.h5")
    assert run.complete and run.steps.tolist() == list(range(2 * STEPS + 1))
    assert np.array_equal(np.stack([one.theta for one in run])[: STEPS + 1], before)
    last = torch.cat([value.detach().reshape(-1) for value in module.parameters()]).numpy()
    assert np.array_equal(run[-1].theta, last)


def test_a_training_that_goes_on_keeps_what_was_measured(tmp_path):
    import lightning

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    watched = {"part": "model", "objective": objective, "measure_every": 4, "k": 2, "density": True}

    def trainer(epochs, **options):
        callback = ls.bridges.LightningRecorder(tmp_path / "run.h5", **watched, **options)
        return lightning.Trainer(max_epochs=epochs, callbacks=[callback], enable_checkpointing=False, **quiet)

    first = trainer(1)
    first.fit(module_class("lightning.pytorch")(), loader())
    first.save_checkpoint(tmp_path / "model.ckpt")
    files = {name: tmp_path / f"run-{name}.h5" for name in ("eigenvalues", "densities")}
    before = {name: ls.load(path) for name, path in files.items()}
    assert before["eigenvalues"].steps.tolist() == [0, 4, 6]
    trainer(2, resume=True).fit(
        module_class("lightning.pytorch")(), loader(), ckpt_path=tmp_path / "model.ckpt", weights_only=False
    )
    run = ls.Trajectory(tmp_path / "run.h5")
    for name, path in files.items():
        after = ls.load(path)
        assert after.steps.tolist() == [0, 4, 6, 8, 12]
        assert after.theta_sha256.tolist() == [run.digests[step] for step in after.steps]
        assert np.array_equal(after.loss[:3], before[name].loss)
        assert after.seconds > before[name].seconds
    eigenvalues = ls.load(files["eigenvalues"])
    assert np.array_equal(eigenvalues.values[:2], before["eigenvalues"].values[:2])
    assert eigenvalues.warm.tolist() == [False, True, False, True, True]
    (tmp_path / "run.h5").unlink()
    with pytest.raises(InputError, match=r"run-eigenvalues.h5 exists"):
        trainer(1).fit(module_class("lightning.pytorch")(), loader())


def test_what_is_refused(tmp_path):
    path = tmp_path / "run.h5"
    for options, words in (
        ({"every": 0}, "every must be at least 1"),
        ({"measure_every": 0}, "measure_every must be at least 1"),
        ({"objective": 3}, "objective must be a landscape.Objective or a function"),
    ):
        with pytest.raises(InputError, match=words):
            ls.bridges.LightningRecorder(path, **options)
    with pytest.raises(InputError, match="no part 'head'; it has: model"):
        fit("lightning.pytorch", [ls.bridges.LightningRecorder(path, part="head")])
    with pytest.raises(InputError, match="there is nothing to measure"):
        fit("lightning.pytorch", [ls.bridges.LightningRecorder(path, part="model", objective=objective, k=0)])


def test_a_measurement_that_fails_is_said_once_and_the_training_goes_on(tmp_path):
    other = ls.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), data())
    callback = ls.bridges.LightningRecorder(tmp_path / "run.h5", objective=other, measure_every=3)
    with pytest.warns(UserWarning, match="build the objective from this model"):
        fit("lightning.pytorch", [callback])
    assert len(ls.Trajectory(tmp_path / "run.h5")) == 2 * STEPS + 1
    assert not (tmp_path / "run-eigenvalues.h5").exists()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_neither_memory_nor_disk_ends_the_training(tmp_path, monkeypatch, where):
    from landscape import records
    from landscape.bridges import measurement

    def full(*_, **__):
        raise torch.OutOfMemoryError("no memory") if where == "memory" else OSError(28, "No space left on device")

    if where == "memory":
        monkeypatch.setattr(measurement, "eigenpairs", full)
    else:
        monkeypatch.setattr(records.EigenSeries, "save", full)
    callback = ls.bridges.LightningRecorder(tmp_path / "run.h5", part="model", objective=objective, measure_every=3)
    with pytest.warns(UserWarning, match="no memory" if where == "memory" else "No space left"):
        watched = state(fit("lightning.pytorch", [callback]))
    assert len(ls.Trajectory(tmp_path / "run.h5")) == 2 * STEPS + 1
    assert all(torch.equal(one, other) for one, other in zip(watched, state(fit("lightning.pytorch", [])), strict=True))


@pytest.mark.slow
def test_the_first_of_two_processes_records(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(f"""
import sys
sys.path.insert(0, {str(importlib.import_module("pathlib").Path(__file__).parents[2])!r})
import torch, lightning, landscape as ls
from tests.bridges.test_lightning import loader, module_class, objective
if __name__ == "__main__":
    watched = sys.argv[1] == "watched"
    callback = ls.bridges.LightningRecorder(
        "run.h5", part="model", objective=objective, measure_every=2, k=2)
    torch.manual_seed(11)
    trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback] if watched else [])
    module = module_class("lightning.pytorch")()
    trainer.fit(module, loader())
    if trainer.is_global_zero:
        torch.save(module.state_dict(), sys.argv[1] + ".pt")
""")
    for name in ("bare", "watched"):
        done = subprocess.run(
            [sys.executable, script, name], cwd=tmp_path, text=True, capture_output=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr
    bare, watched = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("bare", "watched"))
    assert all(torch.equal(bare[name], watched[name]) for name in bare)
    run = ls.Trajectory(tmp_path / "run.h5")
    assert run.complete and run.steps.tolist() == list(range(STEPS + 1))
    assert np.array_equal(
        run[-1].theta, torch.cat([watched[f"model.{name}"].reshape(-1) for name in run.names]).numpy()
    )
    assert ls.load(tmp_path / "run-eigenvalues.h5").steps.tolist() == [0, 2, 4, 6]
