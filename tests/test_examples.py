"""Every example runs as a user would run it, and leaves what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE = {
    "spectrum_of_your_model.py": {"spectrum.h5", "spectrum.png", "eigenpairs.h5"},
    "trajectory_video.py": {"run.h5", "run.h5.segments", "surface.h5", "surface.png", "relief.png", "run.mp4"},
    "compare_optimizers.py": {"optimizers.h5", "optimizers.png"},
    "two_seeds.py": {
        *(f"{name}.h5" for name in ("straight", "aligned", "repaired", "curve")),
        "two_seeds.png",
        "two_seeds.mp4",
    },
    "sgd_vs_proxsgd.py": {"sgd.h5", "prox_sgd.h5", "sgd_vs_proxsgd.h5", "sgd_vs_proxsgd.png"},
    "gallery.py": {
        *(f"{name}.png" for name in ("surface", "relief", "density", "eigenvalues", "eigenvectors", "profile")),
        *(f"{name}.png" for name in ("trajectory", "flyover", "compare", "spectrum")),
        "surface.h5",
        "density.h5",
        "flyover.mp4",
        "report.html",
    },
}


def test_every_example_is_run():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(MADE)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_it_runs(name, tmp_path):
    # One thread, as other tests use the other cores.
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, tmp_path], cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=280, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= MADE[name]
    for made in MADE[name]:
        assert (tmp_path / made).stat().st_size > 0
