from __future__ import annotations

import sys
from pathlib import Path

import pytest

from landscape.errors import InputError
from landscape.parallel import launcher, mpiexec_command, under_launcher
from tests.mpi_jobs import run_ranks

SRUN = {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environment", "name", "size"),
    [
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "MPICH", 4),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, "Open MPI", 3),
        ({"PMIX_RANK": "0"}, "PMIx", None),
        (SRUN | {"SLURM_NTASKS": "8"}, "srun", 8),
        (SRUN | {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2"}, "srun", 2),
        (SRUN | {"SLURM_NTASKS": "8", "PMI_SIZE": "2"}, "MPICH", 2),  # mpiexec inside of srun
    ],
)
def test_launchers_are_recognized(environment, name, size):
    found = launcher.find_launcher(environment)
    assert name in found.name
    assert found.size == size
    assert under_launcher(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PMI_SIZE": "1"},
        {"PMI_SIZE": "nonsense"},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"},  # inside sbatch or salloc, not srun
        SRUN | {"SLURM_NTASKS": "8", "SLURM_STEP_ID": "4294967290"},  # an interactive shell's own step
    ],
)
def test_a_process_on_its_own_is_not_under_a_launcher(environment):
    assert not under_launcher(environment)


def test_the_mpiexec_beside_the_interpreter_goes_first(tmp_path, monkeypatch):
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mpiexec").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "ours" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "theirs"))
    ours = str(tmp_path / "ours" / "mpiexec")
    assert mpiexec_command(2, {}) == [ours, "-n", "2"]
    in_batch = [ours, "-launcher", "fork", "-hosts", "localhost", "-n", "2"]
    assert mpiexec_command(2, {"SLURM_JOB_ID": "1"}) == in_batch
    Path(ours).unlink()
    assert mpiexec_command(2, {}) == [str(tmp_path / "theirs" / "mpiexec"), "-n", "2"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="pip install"):
        mpiexec_command(2, {})


def test_sizes_that_agree_or_are_unknown_pass():
    launcher.check_size(None, 1, "MPICH")
    launcher.check_size(launcher.Launcher("srun", "SLURM_NTASKS", 2), 2, "MPICH")
    launcher.check_size(launcher.Launcher("a PMIx launcher", "PMIX_RANK", None), 2, "MPICH")


@pytest.mark.mpi
@pytest.mark.xdist_group("mpi")
def test_a_launcher_of_another_mpi_is_named_with_the_library_in_use():
    job = run_ranks(0, ["-c", "import landscape; landscape.ProcessGrid.world()"], environment={"PMI_SIZE": "2"})
    assert job.returncode == 1  # an exception in a plain script; the command line turns it into 2
    message = job.stderr.splitlines()[-1]
    assert message.startswith(
        "landscape.errors.InputError: mpiexec of MPICH or Intel MPI started 2 processes (PMI_SIZE=2)"
    )
    from mpi4py import MPI

    assert launcher.first_line(MPI.Get_library_version()) in message
    assert "sees 1" in message
    assert "Start it with" in message


def test_a_launcher_without_mpi_tells_what_to_install():
    code = "import sys; sys.modules['mpi4py'] = None; import landscape; landscape.ProcessGrid.world()"
    job = run_ranks(0, ["-c", code], environment={"PMI_SIZE": "2"})
    assert "InputError: mpiexec of MPICH or Intel MPI started several processes, but MPI cannot be loaded" in job.stderr
    assert "pip install 'landscape-spectra[mpich]'" in job.stderr
