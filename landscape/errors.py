"""The few exceptions of landscape: each message says what was given, what is wrong and what to do next."""

from __future__ import annotations


class LandscapeError(Exception):
    """Base class of every error that landscape raises on purpose.

    Attributes
    ----------
    exit_code : int
        What the command line returns for it.
    """

    exit_code = 1


class InputError(LandscapeError):
    """Something the user gave cannot be used: a file, a model, data, an option. The command line exits with 2."""

    exit_code = 2


class ComputeError(LandscapeError):
    """The input was accepted, but the computation could not go on. The command line exits with 1."""


class NotFiniteError(ComputeError):
    """A loss, a gradient or a product holds NaN or inf."""
