"""The command line: words into calls. Imports of what does the work stand inside the commands, so that
--help answers at once."""

import gc

from doubleroute.cli import main_job  # noqa: F401  its commands join the app, and come first in --help

# isort: split
from doubleroute.cli import comparing  # noqa: F401

# isort: split
from doubleroute.cli import watching  # noqa: F401

# isort: split
from doubleroute.cli import exporting, keeping, promotion, reviewing  # noqa: F401
from doubleroute.cli.app import app
from doubleroute.console import open_closed_streams
from doubleroute.environment import collect_rarely, set_defaults

__all__ = ["app", "main"]


def main() -> None:
    """The entry point of the installed command."""
    open_closed_streams()
    set_defaults()
    collect_rarely()
    try:
        app()
    finally:
        # The interpreter would look through a million objects of the libraries for garbage before it ends.
        gc.freeze()
