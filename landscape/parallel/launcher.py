"""Who started this process, and whether its ranks can talk to each other."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from landscape.errors import InputError

_SPECIAL_STEPS = 4294967290
"""Slurm numbers the steps of a batch script or an interactive shell, which hold one process, from here on."""

_BATCH_VARIABLES = (
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "PBS_NODEFILE",
    "LSB_JOBID",
    "LSB_HOSTS",
    "PE_HOSTFILE",
    "COBALT_JOBID",
)


@dataclass(frozen=True)
class Launcher:
    """What the environment says about the program that started this process.

    Attributes
    ----------
    name : str
        "mpiexec of MPICH or Intel MPI", "mpirun of Open MPI" or "srun".
    variable : str
        The environment variable that was found.
    size : int or None
        How many processes it says it started; None if it does not say.
    """

    name: str
    variable: str
    size: int | None


def find_launcher(environment: Mapping[str, str] = os.environ) -> Launcher | None:
    """Return the launcher of this process, or None if it was started on its own; imports no MPI."""
    for variable, name in (
        ("OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"),
        ("PMI_SIZE", "mpiexec of MPICH or Intel MPI"),
        ("MV2_COMM_WORLD_SIZE", "mpirun_rsh of MVAPICH"),
    ):
        size = _number(environment.get(variable))
        if size is not None:
            return Launcher(name, variable, size)
    step = _number(environment.get("SLURM_STEP_ID"))
    if step is not None and step < _SPECIAL_STEPS and _number(environment.get("SLURM_PROCID")) is not None:
        for variable in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
            size = _number(environment.get(variable))
            if size is not None:
                return Launcher("srun", variable, size)
    if "PMIX_RANK" in environment:
        return Launcher("a PMIx launcher", "PMIX_RANK", None)
    return None


def under_launcher(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several that an MPI launcher started; imports no MPI."""
    launcher = find_launcher(environment)
    return launcher is not None and launcher.size != 1


def check_size(launcher: Launcher | None, size: int, library: str) -> None:
    """Raise InputError if the launcher started another number of processes than MPI sees.

    Parameters
    ----------
    launcher : Launcher or None
    size : int
        Size of MPI's world.
    library : str
        MPI.Get_library_version().
    """
    if launcher is None or launcher.size is None or launcher.size == size:
        return
    used = first_line(library)
    raise InputError(
        f"{launcher.name} started {launcher.size} processes ({launcher.variable}={launcher.size}), but the MPI library "
        f"in use, {used}, sees {size}: the two belong to different MPI installations, so that each process would work "
        f"alone. {_remedy(launcher, used)}"
    )


def mpiexec_command(ranks: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the beginning of a command line that starts `ranks` processes on this computer.

    The mpiexec beside the Python interpreter (that of the embedded MPI) goes before the one in PATH. Inside a batch job
    the former is told to stay on this host: it would ask the batch system for hosts it cannot reach.

    Raises
    ------
    InputError
        If there is no mpiexec.

    Examples
    --------
    >>> from landscape.parallel import mpiexec_command
    >>> mpiexec_command(2)[-2:]
    ['-n', '2']
    """
    beside = Path(sys.executable).parent / "mpiexec"
    if beside.exists():
        in_batch = any(variable in environment for variable in _BATCH_VARIABLES)
        placement = ["-launcher", "fork", "-hosts", "localhost"] if in_batch else []
        return [str(beside), *placement, "-n", str(ranks)]
    found = shutil.which("mpiexec")
    if found is None:
        raise InputError(
            "there is no mpiexec: install an MPI, for instance with: pip install 'landscape-spectra[mpich]'"
        )
    return [found, "-n", str(ranks)]


def _remedy(launcher: Launcher, used: str) -> str:
    embedded = (Path(sys.executable).parent / "mpiexec").exists()
    if launcher.name == "srun":
        advice = "Start it with srun --mpi=pmi2 (MPICH) or srun --mpi=pmix (Open MPI), see srun --mpi=list"
    elif embedded:
        advice = f"Start it with {Path(sys.executable).parent / 'mpiexec'}"
    else:
        advice = f"Start it with the mpiexec of {used}"
    cluster = "; or, to use the cluster's MPI, remove the embedded one with: pip uninstall mpich" if embedded else ""
    return f"{advice}{cluster}."


def first_line(text: str) -> str:
    """Return the first line of what an MPI library says of itself, without padding."""
    return " ".join(text.strip("\0 \n").splitlines()[0].split()).rstrip(",") if text.strip("\0 \n") else "unknown"


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
