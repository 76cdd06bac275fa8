"""The objective with test data that a command may evaluate beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from landscape.cli.job import SourceJob, file_digest, parse_settings
from landscape.cli.objective_source import load_objective

if TYPE_CHECKING:
    from landscape.objective import Objective


class TestedJob(SourceJob):
    """What a command can be told of test data."""

    test: str | None = None
    test_set: dict[str, Any] = Field(default={})

    @property
    def tests(self) -> bool:
        """Whether there are test data."""
        return self.test is not None or bool(self.test_set)

    @property
    def test_objective(self) -> tuple[str, dict[str, Any]]:
        """Source and arguments of the objective with the test data."""
        if self.test is None or self.test == self.objective:
            return self.objective, {**self.objective_arguments, **self.test_set}
        return self.test, dict(self.test_set)

    def test_configuration(self) -> dict[str, Any]:
        """What the numbers of the test data depend on; nothing if there are none."""
        if not self.tests:
            return {}
        source, arguments = self.test_objective
        place = Path(source.rpartition(":")[0])
        digest = {"test_sha256": file_digest(place, "--test")} if place.suffix == ".py" else {}
        return {"test": source, "test_set": arguments, **digest}

    def load_test(self) -> Objective | None:
        """Build the objective with the test data (collective); None if there are none."""
        if not self.tests:
            return None
        source, arguments = self.test_objective
        return load_objective(source, arguments, trained=False)


def given_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags of a command as fields of its job: texts of --set and --test-set as arguments, empty lists as not given."""
    apart = ("job", "settings", "test_settings")
    given = {name: value or None if isinstance(value, list) else value for name, value in flags.items()}
    settings, of_test = given.get("settings"), given.get("test_settings")
    return {name: value for name, value in given.items() if name not in apart} | {
        "set": parse_settings(settings) if settings else None,
        "test_set": parse_settings(of_test, "--test-set", "the function of --test") if of_test else None,
    }
