"""The command line: one file per command, each thin: read the options, call the library, say what came out.

Exit codes: 0 done, 1 failure, 2 usage or bad input, 3 result written but not converged, 130 and 143 signals. Nothing
heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from landscape import __version__
from landscape.cli import (
    connectivity,
    demo,
    eigenpairs,
    export,
    info,
    interpolate,
    pack,
    profile,
    report,
    spectrum,
    surface,
    train,
    video,
)
from landscape.cli.agreement import AgreedError
from landscape.errors import LandscapeError

app = typer.Typer(
    name="landscape",
    help="The shape of the loss around a trained network: its curvature, with error bars.",
    epilog="Exit codes: 0 done, 1 failure, 2 usage or bad input, 3 written but not converged, 130/143 signals.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: loads in a fraction of the time, reads the same in a log file
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("spectrum")(spectrum.spectrum)
app.command("eigenpairs")(eigenpairs.eigenpairs)
app.command("surface")(surface.surface)
app.command("profile")(profile.profile)
app.command("interpolate")(interpolate.interpolate)
app.command("connectivity")(connectivity.connectivity)
app.command("video")(video.video)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("pack")(pack.pack)
app.command("info")(info.info)
app.command("demo")(demo.demo)

RANK_VARIABLES = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; every failure becomes a message on stderr."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("landscape", list(arguments)) as context:
            return int(command.invoke(context) or 0)
    except typer.Exit as asked:
        return asked.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail(
            KeyboardInterrupt(), "interrupted; the same command continues from what is on the disk, if anything"
        )
    except AgreedError as error:
        if error.speaks:
            print(f"landscape: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except LandscapeError as error:
        return _fail(error, str(error))
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # the parser's: typer has its own copy of click's
            if _rank() == 0:
                error.show()
            return int(error.exit_code)
        trace = "".join(traceback.format_exception(error))
        return _fail(error, f"unexpected {type(error).__name__}: {error}", trace)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"landscape {__version__}")
        raise typer.Exit


def _fail(error: BaseException, message: str, trace: str = "") -> int:
    """Print a message, once for all ranks, and return the exit code; where other ranks wait, end them."""
    if os.environ.get("LANDSCAPE_DEBUG") == "1" and not trace:
        trace = "".join(traceback.format_exception(error))
    text = f"{trace}landscape: {message}"
    failure: Any = sys.modules.get("landscape.parallel.failure")  # loaded when MPI has started
    if failure is not None:
        failure.end_all_ranks(error, text)  # returns on a single rank
    if _rank() == 0 or trace:
        print(text, file=sys.stderr, flush=True)
    return 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)


def _rank() -> int:
    """This process's rank as far as its launcher says so, before MPI has started."""
    found = [os.environ[name] for name in RANK_VARIABLES if os.environ.get(name, "").isdigit()]
    return int(found[0]) if found else 0
