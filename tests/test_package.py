"""The package as a whole: quick import, strict names, one version, the data inside the wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import landscape

ROOT = Path(__file__).parents[1]


def run(*command, **options):
    return subprocess.run(
        [str(part) for part in command], text=True, capture_output=True, check=False, timeout=240, **options
    )


def test_import_loads_nothing_heavy():
    code = "import sys, landscape; print({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy', 'mpi4py'})"
    assert run(sys.executable, "-c", code).stdout.strip() == "set()"


def test_names_are_strict():
    assert dir(landscape) == sorted(landscape.__all__)
    with pytest.raises(AttributeError, match=r"'hessian'.*Hessian"):
        landscape.hessian  # noqa: B018


@pytest.mark.parametrize("name", landscape.__all__)
def test_every_name_resolves(name):
    assert getattr(landscape, name) is not None


def test_no_module_hides_a_name():
    """A function in a module of its own name would be replaced by it as soon as somebody imports the module."""
    modules = {path.stem for path in Path(landscape.__file__).parent.iterdir()}
    assert modules & (set(landscape.__all__) - set(landscape._SUBMODULES)) == set()


def test_one_version():
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert landscape.__version__ == version("landscape-spectra") == citation[1]


def test_digits_are_whole():
    with np.load(ROOT / "landscape" / "zoo" / "data" / "digits.npz") as digits:
        images, labels = digits["images"], digits["labels"]
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    # The class counts that the source's description states for its test set.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_constraints_fit_every_build_of_torch():
    text = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^torch==[0-9.]+$", text, re.MULTILINE)
    assert not re.search(r"^(nvidia|triton|.*\+)", text, re.MULTILINE)


@pytest.mark.slow
def test_wheel_stands_alone(tmp_path):
    # From a copy: an older build folder beside the sources would leak into the wheel.
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, tmp_path / "source", symlinks=True, ignore=unwanted)
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, source)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("landscape_spectra-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"landscape/py.typed", "landscape/zoo/data/digits.npz"} <= set(names)
    assert not [name for name in names if not name.startswith(("landscape/", "landscape_spectra-"))]

    assert run(sys.executable, "-m", "venv", tmp_path / "second").returncode == 0
    python = tmp_path / "second" / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "--no-deps", "-q", wheel)
    assert installed.returncode == 0, installed.stderr
    # The dependencies come from here; a path entry, so that our editable install stays out of sight.
    (site,) = (tmp_path / "second" / "lib").glob("python*/site-packages")
    (site / "here.pth").write_text(str(Path(np.__file__).parents[1]) + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = run(python, "-c", "import landscape; print(landscape.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.stdout.strip()).is_relative_to(site)
    shown = run(python.with_name("landscape"), "--help", cwd=tmp_path, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert "spectrum" in shown.stdout
