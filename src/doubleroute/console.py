"""The terminal: what a command prints, how its errors become exit codes, and how it is stopped.

Exit codes: 0 done, 1 an error of doubleroute itself, 2 bad input, 3 refused by a gate, 4 the machine or a
store, 130 stopped by Ctrl-C, 143 by SIGTERM. In pure mode (--json, answers on stdout) everything that
anybody prints, child processes included, goes to stderr, so that stdout holds the one document.
"""

import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from doubleroute.errors import DoublerouteError

#: Seconds after which a stop does not wait any longer for what is under way.
PATIENCE = 8.0


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; ``code`` is the exit code that goes with the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Terminal:
    """Where a command prints. ``document`` is what --json prints when the command is done."""

    def __init__(self, as_json: bool, pure: bool, out: TextIO) -> None:
        self.as_json, self.pure, self.out = as_json, pure, out
        self.document: Any = None

    def line(self, text: str = "") -> None:
        """A line for people: on stdout, or on stderr in pure mode."""
        print(text, file=sys.stderr if self.pure else self.out, flush=True)

    def note(self, text: str) -> None:
        """A remark about the run, always on stderr."""
        print(text, file=sys.stderr, flush=True)

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, asked: bool = False
    ) -> None:
        """A table whose first ``words`` columns hold words and the others numbers. ``asked``: it is what the
        command was asked for, and stands on stdout in pure mode too."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        stream = sys.stderr if self.pure and not asked else self.out
        console = Console(file=stream, width=None if stream.isatty() else 160, highlight=False)
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, name in enumerate(header):
            table.add_column(Text(name), justify="left" if index < words else "right")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)

    def show_document(self) -> None:
        """Print the JSON document."""
        print(json.dumps(self.document, indent=2, ensure_ascii=True, default=str), file=self.out, flush=True)


@contextmanager
def session(
    *, as_json: bool, debug: bool, pure: bool = False, goes_on: Callable[[], str] | None = None
) -> Iterator[Terminal]:
    """Run a command: print through the Terminal it gives; errors and stops end it with their exit code.

    ``goes_on`` says what happens to a stopped command's work when it is started again.
    """
    # Bars for every file that is opened say nothing; ours show what takes time. Inherited by workers.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with _stdout_kept_apart(as_json or pure) as out:
        terminal = Terminal(as_json, as_json or pure, out)
        advice = goes_on or (lambda: "nothing was changed")
        try:
            with _signals_as_stops(advice):
                yield terminal
            if as_json:
                terminal.show_document()
        except (typer.Exit, SystemExit) as stop:
            if as_json and terminal.document is not None:
                terminal.show_document()
            raise stop
        except BrokenPipeError:
            _leave_quietly()
        except KeyboardInterrupt as stop:
            code = stop.code if isinstance(stop, Stopped) else 130
            _fail(terminal, debug, "Stopped", f"stopped; {advice()}", code)
        except DoublerouteError as error:
            _fail(terminal, debug, type(error).__name__, str(error), error.exit_code)
        except MemoryError:
            _fail(
                terminal, debug, "MemoryError", "the memory is used up; try a smaller training.batch_size", 4
            )
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "doubleroute":
                _internal(terminal, debug, error)
            what = f"the Python package '{error.name}' is missing; install the project again (see README)"
            _fail(terminal, debug, "MachineError", what, 4)
        except OSError as error:
            _fail(terminal, debug, "MachineError", _os_error(error), 4)
        except Exception as error:  # noqa: BLE001  the last door: no user meets a traceback unasked
            _internal(terminal, debug, error)


class Commands(TyperGroup):
    """The commands; under --json, wrong use of one is a document on stdout too."""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if as_json:
                message = error.format_message() if hasattr(error, "format_message") else str(error)
                terminal = Terminal(as_json=True, pure=False, out=sys.stdout)
                terminal.document = _error("UsageError", message, 2)
                terminal.show_document()
            raise


def progress_of(root: Path) -> str:
    """What a stopped run finds when it is started again, from the folders of its workspace."""
    found: list[tuple[float, str]] = []
    with suppress(OSError):  # there is no such folder, or no longer
        for path in (root / ".doubleroute" / "partial").iterdir():
            with suppress(OSError):  # its stage has just become whole
                found.append((path.stat().st_mtime, path.name))
    if found:
        stage = max(found)[1].rsplit("-", 1)[0]
        return f"run the same command again: it continues at the last checkpoint of the stage '{stage}'"
    return "run the same command again: it continues after the last finished stage"


def _fail(terminal: Terminal, debug: bool, kind: str, message: str, code: int) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"error: {message}" if code < 128 else f"\n{message}", file=sys.stderr, flush=True)
    if terminal.as_json:
        terminal.document = _error(kind, message, code)
        with suppress(OSError):  # the disk behind stdout may be what is full
            terminal.show_document()
    raise typer.Exit(code)


def _error(kind: str, message: str, code: int) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "exit_code": code}}


def _internal(terminal: Terminal, debug: bool, error: Exception) -> NoReturn:
    what = f"internal error: {type(error).__name__}: {error}"
    hint = "" if debug else "; run the same command with --debug for the traceback"
    _fail(terminal, debug, type(error).__name__, what + hint, 1)


def _os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"the machine refused: {error.strerror or error}{where}; `doubleroute doctor` looks for the cause"


def _leave_quietly() -> NoReturn:
    """The reader of our output has gone (`| head`): no message, and no flush into the closed pipe."""
    with suppress(OSError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    raise typer.Exit(128 + signal.SIGPIPE)


def open_closed_streams() -> None:
    """Give the process the standard streams that it was started without (`command <&-`): the next file
    that is opened would become one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


@contextmanager
def _stdout_kept_apart(pure: bool) -> Iterator[TextIO]:
    """In pure mode give a stream on the true stdout and send all other writing there to stderr."""
    if not pure:
        yield sys.stdout
        return
    before, true = sys.stdout, sys.__stdout__
    if true is None or before is not true:
        sys.stdout = sys.stderr
        try:
            yield before
        finally:
            sys.stdout = before
        return
    true.flush()
    kept = os.dup(true.fileno())
    os.dup2(sys.stderr.fileno(), true.fileno())
    sys.stdout = sys.stderr
    try:
        with open(os.dup(kept), "w", encoding="utf-8") as out:  # noqa: PTH123  a descriptor, not a path
            yield out
    except BrokenPipeError:
        _leave_quietly()
    except OSError as error:  # what was printed last did not get out
        print(f"error: {_os_error(error)}", file=sys.stderr, flush=True)
        raise typer.Exit(4) from None
    finally:
        sys.stdout = true
        true.flush()
        os.dup2(kept, true.fileno())
        os.close(kept)


@contextmanager
def _signals_as_stops(advice: Callable[[], str]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into Stopped, and make sure that the process then ends in time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature of a handler
        threading.Thread(target=_end_in_time, args=(128 + number, advice), daemon=True).start()
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_in_time(code: int, advice: Callable[[], str]) -> None:
    """End the process if what was under way does not: a library may hold on to its threads."""
    time.sleep(PATIENCE)
    last = threading.Thread(target=_last_words, args=(advice,), daemon=True)
    last.start()
    last.join(1)  # nobody may read our words, or be there to read them
    os._exit(code)


def _last_words(advice: Callable[[], str]) -> None:
    _kill_children()
    with suppress(OSError, ValueError):
        print(f"\nstopped; {advice()}", file=sys.stderr, flush=True)


def _kill_children() -> None:
    """Kill the processes that this one started; they and its threads may end meanwhile."""
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                with suppress(OSError):
                    os.kill(int(child), signal.SIGKILL)
