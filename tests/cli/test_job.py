"""Options: flags over a job file over defaults, and a clear message for everything that makes no sense."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from landscape.cli import app
from landscape.cli.job import parse_settings, read_job
from landscape.cli.jobs.spectrum import SpectrumJob
from landscape.errors import InputError


def test_flags_win_over_the_job_file(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('objective = "zoo:a"\ntol = 0.01\nmax-products = 7\n[set]\nepochs = 3\nwidth = 8\n')
    asked = read_job(SpectrumJob, path, {"tol": 0.2, "seed": None, "set": {"width": 9}})
    assert (asked.objective, asked.tol, asked.max_products, asked.seed) == ("zoo:a", 0.2, 7, 0)
    assert asked.arguments == {"epochs": 3, "width": 9}


@pytest.mark.parametrize(
    ("toml", "flags", "message"),
    [
        ("max-product = 1", {}, r"job\.toml: unknown key 'max_product'; did you mean max-products\? \(known: "),
        ("tol = -1", {}, r"job\.toml: tol is -1, but it should be greater than 0"),
        ("tol = 1", {"tol": -2.0}, r"^--tol is -2\.0, but"),
        ('operator = "hesian"', {}, r"operator is 'hesian', but it should be 'hessian', 'gauss-newton', 'fisher' or"),
        ("steps = 1.5", {}, r"steps is 1\.5, but it should be a valid integer"),
        ("set = 3", {}, r"set is 3, but it should be a valid dictionary"),
        ("tol == 1", {}, r"is not a TOML file: .*line 1"),
        ("", {"output": "a.h5", "figure": "a.h5"}, "same file"),
        ("", {"output": "a.mp4"}, "the result is an HDF5 file; call it a.h5"),
    ],
)
def test_bad_jobs(tmp_path, toml, flags, message):
    path = tmp_path / "job.toml"
    path.write_text(toml)
    with pytest.raises(InputError, match=message):
        read_job(SpectrumJob, path, {"objective": "zoo:digits-cnn", **flags})


def test_missing_job_file_and_objective(tmp_path):
    with pytest.raises(InputError, match=r"--job: there is no file .*none\.toml"):
        read_job(SpectrumJob, tmp_path / "none.toml", {})
    with pytest.raises(InputError, match="no objective is given: say --objective zoo:digits-cnn"):
        read_job(SpectrumJob, None, {"objective": None})


names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(names, numbers | st.lists(numbers) | st.tuples(numbers, st.text())))
def test_settings_are_python_literals(values):
    assert parse_settings([f"{name}={value!r}" for name, value in values.items()]) == values


def test_settings_that_are_no_literals_are_text():
    found = parse_settings(["activation=relu", "folder=../data", "note=a = b", "empty="])
    assert found == {"activation": "relu", "folder": "../data", "note": "a = b", "empty": ""}


@pytest.mark.parametrize("text", ["epochs", "=3", "2x=3", "a b=3"])
def test_bad_settings(text):
    with pytest.raises(InputError, match=r"write --set name=value"):
        parse_settings([text])
    with pytest.raises(InputError, match="given twice"):
        parse_settings(["a=1", "a=2"])


def test_configuration_is_what_the_numbers_depend_on(tmp_path):
    source = tmp_path / "mine.py"
    source.write_text("one")
    asked = {"objective": f"{source}:build"}
    base = SpectrumJob(**asked).configuration()
    same = {"output": "x.h5", "checkpoint_seconds": 1.0, "overwrite": True, "no_figure": True, "steps": 3}
    assert SpectrumJob(**asked, **same).configuration() == base  # steps: not used by the deflated method
    for change in ({"tol": 0.1}, {"seed": 1}, {"set": {"a": 1}}, {"samples": 5}, {"method": "classical"},
                   {"operator": "fisher"}, {"checkpoint": source}, {"device": "cpu"}, {"micro_batch": 2}):  # fmt: skip
        assert SpectrumJob(**asked, **change).configuration() != base, change
    source.write_text("two")
    assert SpectrumJob(**asked).configuration() != base
    with pytest.raises(InputError, match=r"--checkpoint: there is no file .*gone\.pt"):
        SpectrumJob(**asked, checkpoint="gone.pt").configuration()


def test_help_states_the_defaults():
    fields = SpectrumJob.model_fields
    options = {option.name: option.help for option in typer.main.get_command(app).commands["spectrum"].params}
    for name in ("operator", "method", "tol", "probes", "steps", "seed"):
        assert str(fields[name].default) in options[name].partition("Default: ")[2]
    assert set(fields) - {"arguments"} == set(options) - {"job", "settings", "help"}
