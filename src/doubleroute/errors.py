"""Every error class that a user can meet.

Each carries the exit code of the command line. A message says what was wrong, where (file, row,
column, key) and what would be right; it is shown without a traceback.
"""


class DoublerouteError(Exception):
    """Something that the user can act on; never raised bare."""

    exit_code = 1


class InputError(DoublerouteError):
    """What the user gave is wrong: a project file, a data file, a model folder, an option."""

    exit_code = 2


class RowError(InputError):
    """One of the rows that were given together is wrong. ``row`` counts from 0, the message from 1."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(row, reason)
        self.row, self.reason = row, reason

    def __str__(self) -> str:
        return f"row {self.row + 1}: {self.reason}"


class ConfigError(InputError):
    """project.yaml is wrong; the message lists every mistake with key path and line."""


class DataError(InputError):
    """A data file cannot be read or does not fit the project."""


class NoSplitError(DataError):
    """A folder has no file of the split that was asked for."""


class ModelError(InputError):
    """A backbone or model folder lacks weights or tokenizer, or holds unusable ones."""


class GateError(DoublerouteError):
    """A gate refused: too many invalid rows, the promotion gate, a review, an export; or another run of the
    project is at work."""

    exit_code = 3


class MachineError(DoublerouteError):
    """The machine or a store does not let us work: disk, permission, server, missing package."""

    exit_code = 4
