"""The commands as a user types them: what they write, what they say, how they exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import landscape
from landscape import store
from landscape.cli import run
from landscape.parallel import mpiexec_command

SOURCE = """
import os, signal
import torch
import landscape as ls

class Killed(torch.nn.Module):
    # A network that dies after as many evaluations as the environment says.
    def __init__(self, network):
        super().__init__()
        self.network, self.left = network, int(os.environ.get("DIE_AFTER", -1))
    def forward(self, x):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.network(x)

def build(seed=0, width=4, samples=None, scale=1.0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 2)).double()
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = (x.sum(1) > 0).long()
    return ls.Objective(network, torch.nn.functional.cross_entropy, (scale * x, y), samples=samples)

def mortal():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 12), torch.nn.Tanh(), torch.nn.Linear(12, 2)).double()
    x = torch.randn(96, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ls.Objective(Killed(network), torch.nn.functional.cross_entropy, (x, (x.prod(1) > 0).long()))

def bug():
    raise RuntimeError("a bug of the user")
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine.py").write_text(SOURCE)
    yield
    sys.modules.pop("mine", None)


def spectrum(*arguments, source="mine.py:build"):
    return run(["spectrum", "--objective", source, *arguments])


def start(*arguments, ranks=0, **environment):
    """The command line in processes of its own."""
    command = [*(mpiexec_command(ranks) if ranks else []), sys.executable, "-m", "landscape", *arguments]
    where = {
        "PYTHONPATH": os.pathsep.join([str(Path(landscape.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    }
    return subprocess.run(
        command, env={**os.environ, **where, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_spectrum_writes_a_result_a_figure_and_what_they_say(capsys):
    assert spectrum("--set", "width=5", "--seed", "3") == 0
    said = capsys.readouterr()
    density = landscape.load("spectrum.h5")
    assert density.n == 3 * 5 + 5 + 5 * 2 + 2
    assert f"largest eigenvalue   {density.lambda_max:.6g}  loss per parameter²" in said.out
    assert "converged" in said.out
    assert "to look at it: landscape info spectrum.h5" in said.out
    assert "32 parameters, 24 samples, 1 rank" in said.err
    assert Path("spectrum.png").stat().st_size > 10_000
    assert not Path("spectrum.h5.state").exists()
    asked = density.provenance["asked"]
    assert (asked["set"], asked["seed"]) == ({"width": 5}, 3)
    assert density.provenance["versions"]["torch"] == torch.__version__
    exact = np.linalg.eigvalsh(landscape.Hessian(_objective(width=5)) @ np.eye(32))
    assert np.isclose(density.lambda_max, exact[-1], rtol=1e-6)
    assert np.isclose(density.trace, exact.sum(), rtol=0.3)


def _objective(**arguments):
    from mine import build

    return build(**arguments)


def test_the_same_again_is_complete_and_another_is_refused(capsys):
    assert spectrum("--no-figure") == 0
    before = Path("spectrum.h5").read_bytes()
    capsys.readouterr()
    assert spectrum("--no-figure") == 0
    assert "already complete: spectrum.h5" in capsys.readouterr().out
    assert spectrum() == 0  # the figure was not wanted then, but is now
    assert Path("spectrum.png").exists()
    assert spectrum("--tol", "0.5", "--set", "seed=1") == 2
    error = capsys.readouterr().err
    assert "spectrum.h5 holds the result of another configuration:" in error
    assert "  set.seed: None there, 1 now\n  tol: 0.05 there, 0.5 now\n" in error
    assert "--overwrite" in error
    assert Path("spectrum.h5").read_bytes() == before
    assert spectrum("--tol", "0.5", "--set", "seed=1", "--overwrite") == 0
    assert landscape.load("spectrum.h5").tol == 0.5


def test_the_same_command_with_other_data_is_not_complete(capsys):
    torch.save(torch.randn(24, 3, dtype=torch.float64), "inputs.pt")
    source = Path("mine.py").read_text()
    Path("mine.py").write_text(source.replace("y = (x.sum(1)", "x = torch.load('inputs.pt')\n    y = (x.sum(1)"))
    assert spectrum("--no-figure") == 0
    assert spectrum("--no-figure") == 0
    assert "already complete" in capsys.readouterr().out
    torch.save(2 * torch.load("inputs.pt"), "inputs.pt")
    assert spectrum("--no-figure") == 2
    error = capsys.readouterr().err
    assert "holds the result of the same command for another function:" in error
    assert "data_sha256: " in error
    assert "loss: " in error


def test_a_result_written_from_python_is_not_taken_for_one_of_this_command(capsys):
    assert spectrum("--no-figure") == 0
    record = landscape.load("spectrum.h5")
    record.provenance.pop("asked")
    record.save("spectrum.h5")
    assert spectrum("--no-figure") == 2
    assert "spectrum.h5 was not written by this command but from Python" in capsys.readouterr().err


def test_the_output_is_tested_before_the_work(capsys):
    Path("mine.py").write_text("def build():\n    raise SystemExit('worked')\n")
    Path("file").write_text("")
    assert spectrum("-o", "file/result.h5") == 2
    assert "worked" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("x[3, 1] = float('nan')", "landscape: the loss is nan in micro-batch 0"),
        ("x = x[:0]", "landscape: the data is empty"),
        ("network.requires_grad_(False)", "landscape: nothing is trainable"),
        (
            "network.append(torch.nn.Dropout(0.5))",
            "landscape: dropout is in train mode, so the loss is random: 3 (Dropout",
        ),
        ("network.append(Noise())", "landscape: the loss changes from one evaluation to the next"),
    ],
)
def test_models_and_data_that_cannot_be_used(change, message, capsys):
    noise = "\nclass Noise(torch.nn.Module):\n    def forward(self, x):\n        return x + torch.randn_like(x)\n"
    source = Path("mine.py").read_text().replace("    y = (x.sum(1)", f"    {change}\n    y = (x.sum(1)", 1)
    Path("mine.py").write_text(source + noise)
    assert spectrum("--no-figure") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not Path("spectrum.h5").exists()


def test_operators_methods_and_job_file(capsys):
    Path("job.toml").write_text(
        'objective = "mine.py:build"\nmethod = "classical"\nprobes = 3\nsteps = 4\ntol = 10.0\n'
    )
    assert run(["spectrum", "--job", "job.toml", "-o", "deep/folder/a.h5", "--figure", "a.svg"]) == 0
    density = landscape.load("deep/folder/a.h5")
    assert (density.method, density.products, density.probes) == ("classical", 12, 3)
    assert Path("a.svg").exists()
    assert run(["spectrum", "--job", "job.toml", "--steps", "5", "--operator", "fisher", "--no-figure"]) == 0
    density = landscape.load("spectrum.h5")
    assert (density.operator, density.products) == ("fisher", 15)
    assert density.lambda_min > -1e-9


def test_not_converged_is_written_and_said(capsys):
    assert spectrum("--max-products", "2", "--tol", "1e-9") == 3
    said = capsys.readouterr()
    assert "NOT CONVERGED" in said.out
    assert "the result is written, but its predicted error" in said.err
    assert not landscape.load("spectrum.h5").converged
    assert spectrum("--max-products", "2", "--tol", "1e-9") == 3  # complete, and still not converged


def test_checkpoints(capsys):
    state = {"module." + name: 0 * value for name, value in zip(*_names_and_values(), strict=True)}
    save_file(state, "zero.safetensors")
    assert spectrum("--checkpoint", "zero.safetensors") == 0
    assert landscape.load("spectrum.h5").provenance["asked"]["checkpoint_sha256"] is not None
    torch.save({"0.weight": torch.zeros(4, 3), "1.bias": torch.zeros(1)}, "other.pt")
    assert spectrum("--checkpoint", "other.pt", "-o", "b.h5") == 2
    assert "the checkpoint belongs to another model: it lacks 0.bias" in capsys.readouterr().err
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    assert spectrum("--checkpoint", "module.pt", "-o", "b.h5") == 2
    assert "wants to run code when it is read, so it is refused" in capsys.readouterr().err
    assert not Path("b.h5").exists()


def _names_and_values():
    sys.path.insert(0, ".")
    objective = _objective()
    return list(objective.variables()), list(objective.variables().values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "zoo:digits-cn"], "digits-cnn"),
        (["--objective", "gone.py:build"], "there is no file gone.py"),
        (["--objective", "mine.py:biuld"], "did you mean build?"),
        (["--objective", "mine.py:build", "--set", "width"], "write --set name=value"),
        (["--objective", "mine.py:build", "--set", "depth=3"], "takes (seed=0, width=4, samples=None, scale=1.0)"),
        (["--objective", "mine.py:build", "--set", "scale=1e400"], "the loss is nan in micro-batch 0"),
        (["--objective", "mine.py:build", "--tol", "-1"], "--tol is -1.0, but it should be greater than 0"),
        (["--objective", "mine.py:build", "--figure", "a.gif"], "must end in one of .png, .svg, .pdf"),
        (["--objective", "mine.py:build", "-o", "mine.py/a.h5"], "cannot write into the folder mine.py"),
        (["--objective", "mine.py:build", "-o", "."], "it is a folder"),
        (["--objective", "mine.py:build", "--checkpoint", "gone.pt"], "--checkpoint: there is no file gone.pt"),
        (["--objective", "mine.py:build", "--job", "gone.toml"], "--job: there is no file gone.toml"),
        (["--objective", "mine.py:build", "-o", "mine.py"], "is not an HDF5 file"),
        ([], "no objective is given"),
        (["--objectives", "x"], "No such option"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ",
)
def test_bad_input_exits_with_2_and_one_message(arguments, message, capsys):
    assert run(["spectrum", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not Path("spectrum.h5").exists()


def test_results_that_cannot_be_read(capsys):
    assert spectrum("--no-figure") == 0
    whole = Path("spectrum.h5").read_bytes()
    Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File("foreign.h5", "w") as file:
        file["x"] = 1
    Path("newer.h5").write_bytes(whole)
    with h5py.File("newer.h5", "a") as file:
        file.attrs["schema_version"] = 99
    expected = {
        "none.h5": "there is no file none.h5",
        "cut.h5": "cut.h5 is truncated or damaged",
        "foreign.h5": "foreign.h5 is an HDF5 file of another program",
        "newer.h5": "newer.h5 was written by a newer landscape",
        "mine.py": "mine.py is not an HDF5 file",
        ".": "holds no half-done run",
    }
    capsys.readouterr()
    for name, message in expected.items():
        assert run(["info", name]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("landscape: ")
        assert message in said.err
    for name in ("cut.h5", "foreign.h5", "newer.h5"):  # nothing is replaced unasked
        before = Path(name).read_bytes()
        assert spectrum("-o", name, "--no-figure") == 2
        assert "or pass --overwrite to replace it" in capsys.readouterr().err
        assert Path(name).read_bytes() == before
    assert spectrum("-o", "cut.h5", "--no-figure", "--overwrite") == 0


def test_unexpected_errors_show_where(capsys, monkeypatch):
    assert spectrum(source="mine.py:bug") == 1
    error = capsys.readouterr().err
    assert "landscape: unexpected RuntimeError: a bug of the user" in error
    assert "line" in error
    assert "in bug" in error
    monkeypatch.setenv("LANDSCAPE_DEBUG", "1")
    assert spectrum("--tol", "-1") == 2
    assert "Traceback" in capsys.readouterr().err


def test_info_explains(capsys):
    assert spectrum("--no-figure") == 0
    capsys.readouterr()
    assert run(["info", "spectrum.h5"]) == 0
    text = capsys.readouterr().out
    for part in (
        "eigenvalue density of a curvature operator",
        "operator             hessian, deflated method",
        "largest eigenvalue",
        "weights              ",
        "they sum to 1",
        "theta_sha256",
        "objective          mine.py:build",
        "torch              " + torch.__version__,
        "landscape.load('spectrum.h5')",
    ):
        assert part in text


def test_quick_commands_load_neither_torch_nor_mpi():
    again = ["spectrum", "--objective", "zoo:digits-mlp", "--set", "epochs=0", "--samples", "50"]
    again += ["--tol", "1", "--no-figure"]
    assert run(again) == 0
    commands = [["--help"], ["spectrum", "--help"], ["--version"], ["info", "spectrum.h5"], again]
    code = (
        "import sys; from landscape.cli import run\n"
        f"for command in {commands!r}: assert run(command) == 0\n"
        "print({'torch', 'matplotlib', 'scipy', 'mpi4py.MPI', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert f"landscape {landscape.__version__}" in done.stdout


@pytest.mark.mpi
def test_killed_at_nine_tenths_on_two_ranks_and_finished_on_one_gives_the_same_bits():
    # Of the three micro-batches of a product rank 0 works on two: it is killed when about 78 of 86 products are done.
    asked = ["spectrum", "--objective", "mine.py:mortal", "--tol", "1e-9", "--no-figure"]
    asked += ["--product", "forward_over_reverse"]  # keeps nothing, so that every product calls the network
    assert run([*asked, "-o", "whole.h5"]) == 0
    whole = landscape.load("whole.h5")
    killed = start(*asked, "-o", "again.h5", "--checkpoint-seconds", "0", DIE_AFTER="165", ranks=2)
    assert killed.returncode not in (0, 1, 2, 3)
    steps = store.describe("again.h5.state")["last"]["steps"]
    assert 0.88 <= steps / whole.products <= 0.95
    info = start("info", "again.h5.state")
    assert f"{steps} products done of at most" in info.stdout
    refused = start(*asked, "-o", "again.h5", "--seed", "1")
    assert refused.returncode == 2
    assert "half-done run of another configuration:\n  seed: 0 there, 1 now" in refused.stderr
    assert run([*asked, "-o", "again.h5"]) == 0
    resumed = landscape.load("again.h5")
    assert resumed.provenance["resumed_products"] == steps
    assert resumed.products == whole.products
    assert resumed.products - steps <= 0.15 * whole.products
    for name in ("nodes", "weights", "resolved"):
        assert getattr(whole, name).tobytes() == getattr(resumed, name).tobytes()
    assert not Path("again.h5.state").exists()


def test_signals():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        source = Path("mine.py").read_text().replace("signal.SIGKILL", f"signal.Signals({int(number)})")
        Path("mine.py").write_text(source)
        done = start("spectrum", "--objective", "mine.py:mortal", "--no-figure", DIE_AFTER="20")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        Path("mine.py").write_text(SOURCE)


@pytest.mark.mpi
def test_two_ranks():
    asked = ["spectrum", "--objective", "mine.py:build"]
    done = start(*asked, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("largest eigenvalue") == 1
    assert "2 ranks" in done.stderr
    assert spectrum("-o", "alone.h5", "--no-figure") == 0
    together, alone = landscape.load("spectrum.h5"), landscape.load("alone.h5")
    assert together.provenance["grid"]["ranks"] == 2
    assert together.nodes.tobytes() == alone.nodes.tobytes()
    again = start(*asked, ranks=2)
    assert again.returncode == 0
    assert again.stdout.count("already complete") == 1
    refused = start(*asked, "--seed", "1", ranks=2)
    assert refused.returncode == 2
    assert refused.stderr.count("another configuration") == 1
    assert refused.stderr.count("landscape:") == 1
    usage = start(*asked, "--tol", "-1", ranks=2)
    assert usage.returncode == 2
    assert usage.stderr.count("--tol is -1") == 1


@pytest.mark.mpi
def test_launcher_of_another_mpi():
    done = start("spectrum", "--objective", "mine.py:build", PMI_SIZE="2")
    assert done.returncode == 2
    assert "PMI_SIZE=2" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("spectrum.h5").exists()


def test_the_way_to_compute_products_is_an_option_and_is_said(capsys):
    asked = ["spectrum", "--objective", "zoo:digits-mlp", "--set", "epochs=0", "--max-products", "5", "--no-figure"]
    assert run([*asked, "--product", "linearized", "--precision", "bfloat16", "-o", "half.h5"]) == 3
    assert "products (linearized in bfloat16, off by" in capsys.readouterr().out
    facts = landscape.load("half.h5").provenance["products"]
    assert facts["product"] == "linearized" and 0 < facts["deviation"] < 0.1
    assert run([*asked, "--product", "double_backward", "-o", "half.h5"]) == 2
    assert "product" in capsys.readouterr().err
    assert run([*asked, "--operator", "fisher", "--product", "linearized"]) == 2
    assert "those of fisher" in capsys.readouterr().err
