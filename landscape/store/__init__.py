"""Results on disk: one HDF5 file per result, written whole or not at all, and the durable state of a half-done run.

`save` and `load` move a record to and from a file, `describe` says what a file holds, `RunState` keeps what a long run
has finished. Nothing is ever pickled; what cannot be read is explained by an `InputError`.
"""

from landscape.store.configuration import configuration_differences, configuration_digest, differences_in_words
from landscape.store.hdf5 import SCHEMA_VERSION
from landscape.store.results import check_writable, describe, load, save
from landscape.store.run_state import RunState, remove_run_state

__all__ = [
    "SCHEMA_VERSION",
    "RunState",
    "check_writable",
    "configuration_differences",
    "configuration_digest",
    "describe",
    "differences_in_words",
    "load",
    "remove_run_state",
    "save",
]
