"""Errors become exit codes, stdout stays clean in pure mode, and a stopped command ends in time."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from doubleroute.console import progress_of, session
from doubleroute.errors import DataError, GateError, MachineError

HEAD = (
    "import os, signal, sys, time\nfrom doubleroute import console\nfrom doubleroute.console import session\n"
)


def run(body: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", HEAD + body], capture_output=True, text=True, timeout=60)


def start(body: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + body], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def runs(process: int) -> bool:
    """Whether a process is there and not a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


ERRORS = {
    "input": (DataError("a.csv is empty"), 2, "error: a.csv is empty"),
    "gate": (GateError("too many bad rows"), 3, "error: too many bad rows"),
    "machine": (MachineError("no server"), 4, "error: no server"),
    "disk full": (OSError(errno.ENOSPC, "No space left on device", "x"), 4, "No space left on device (x)"),
    "no permission": (PermissionError(errno.EACCES, "Permission denied", "y"), 4, "Permission denied (y)"),
    "memory": (MemoryError(), 4, "try a smaller training.batch_size"),
    "missing package": (ModuleNotFoundError("no", name="mlflow"), 4, "package 'mlflow' is missing"),
    "our own fault": (
        ValueError("odd"),
        1,
        "internal error: ValueError: odd; run the same command with --debug",
    ),
    "our own module": (ModuleNotFoundError("no x", name="doubleroute.x"), 1, "internal error"),
}


@pytest.mark.parametrize(("error", "code", "text"), ERRORS.values(), ids=ERRORS)
def test_every_error_is_one_line_without_traceback_and_has_its_exit_code(
    error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, session(as_json=False, debug=False):
        raise error
    printed = capsys.readouterr()
    assert caught.value.exit_code == code
    assert text in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), session(as_json=False, debug=True):
        raise DataError("a.csv is empty")
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.endswith("error: a.csv is empty\n")


def test_an_error_under_json_is_a_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), session(as_json=True, debug=False):
        raise DataError("a.csv is empty")
    document = json.loads(capsys.readouterr().out)
    assert document == {"error": {"type": "DataError", "message": "a.csv is empty", "exit_code": 2}}


def test_under_json_stdout_holds_the_document_alone_whoever_prints() -> None:
    done = run(
        "with session(as_json=True, debug=False) as terminal:\n"
        "    print('a library'); os.system('echo a child'); terminal.line('for people')\n"
        "    terminal.document = {'text': 'gr\\u00fcn', 'value': 1}\n"
        "print('after')\n"
    )
    document, after = done.stdout.rsplit("\n", 2)[:2]
    assert json.loads(document) == {"text": "grün", "value": 1}
    assert after == "after"
    assert all(line in done.stderr for line in ("a library", "a child", "for people"))


def test_a_refusal_under_json_still_prints_its_document(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        with session(as_json=True, debug=False) as terminal:
            terminal.document = {"decision": "refuse"}
            raise typer.Exit(3)

    with pytest.raises(typer.Exit) as caught:
        refuse()
    assert caught.value.exit_code == 3
    assert json.loads(capsys.readouterr().out) == {"decision": "refuse"}


def test_a_closed_pipe_ends_quietly() -> None:
    process = start(
        "try:\n    with session(as_json=False, debug=False, pure=True) as t:\n"
        "        print('ready', file=t.out, flush=True)\n"
        "        for n in range(99999): print(n, file=t.out)\n"
        "except console.typer.Exit as stop: sys.exit(stop.exit_code)\n"
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 141


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_says_how_to_go_on(number: int, code: int) -> None:
    process = start(
        "try:\n    with session(as_json=False, debug=False, goes_on=lambda: 'run it again'):\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "except console.typer.Exit as stop: sys.exit(stop.exit_code)\n"
    )
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopped; run it again" in err
    assert "Traceback" not in out + err


def test_a_library_that_swallows_the_stop_cannot_keep_the_process_or_its_children() -> None:
    process = start(
        "console.PATIENCE = 0.3\nimport subprocess\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "with session(as_json=False, debug=False, goes_on=lambda: f'child {child.pid}'):\n"
        "    try: print('ready', flush=True); time.sleep(60)\n"  # inside: the stop may come at once
        "    except KeyboardInterrupt: time.sleep(60)\n"
    )
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    child = int(err.split("child ")[1].split()[0])
    deadline = time.monotonic() + 5
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(child)


@pytest.mark.parametrize("advice", ["'run it again'", "1 / 0"], ids=["nobody reads it", "no advice"])
def test_a_stop_ends_the_process_also_where_it_cannot_say_so(advice: str) -> None:
    process = start(
        "console.PATIENCE = 0.3\n"
        f"with session(as_json=False, debug=False, goes_on=lambda: {advice}):\n"
        "    try: print('ready', flush=True); time.sleep(60)\n"
        "    except KeyboardInterrupt: time.sleep(60)\n"
    )
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stdout is not None
    process.stdout.close()


def test_the_way_on_names_the_stage_that_was_being_built(tmp_path: Path) -> None:
    assert "after the last finished stage" in progress_of(tmp_path)
    (tmp_path / ".doubleroute" / "partial" / "fit-0123456789").mkdir(parents=True)
    (tmp_path / ".doubleroute" / "partial" / "evaluate-0").symlink_to("gone")
    assert "at the last checkpoint of the stage 'fit'" in progress_of(tmp_path)


def test_tables_are_plain_and_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with session(as_json=False, debug=False) as terminal:
        terminal.table(("task", "score"), [("[red]mood", "0.9"), ("x" * 100, "0.8")])
    printed = capsys.readouterr().out
    assert "[red]mood" in printed
    assert "x" * 100 in printed
    assert "\x1b" not in printed
