"""`doubleroute train` or `retrain` in a process of its own, and every process that comes of it."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

_MARK = "DOUBLEROUTE_TEST_RUN"


class Train:
    """A started run in a session of its own; its output goes to files beside the project."""

    def __init__(
        self, root: Path, *changes: str, environment: dict[str, str] | None = None, command: str = "train"
    ) -> None:
        self.root = root
        self.mark = uuid.uuid4().hex
        self.files = [root.with_name(f"{root.name}-{self.mark[:6]}.{name}") for name in ("out", "err")]
        words = [word for change in changes for word in ("--set", change)]
        full = [str(Path(sys.executable).with_name("doubleroute")), command, "--project", str(root)]
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_TRACKING", "MLFLOW_REGISTRY"))
        }
        with self.files[0].open("wb") as out, self.files[1].open("wb") as err:
            self.process = subprocess.Popen(
                [*full, *words],
                env={**inherited, **(environment or {}), _MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self.files[0].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self.files[1].read_text(encoding="utf-8")

    def wait(self, seconds: float = 280) -> int:
        return self.process.wait(seconds)

    def until_it_fits(self, seconds: float = 250) -> None:
        """Wait for the first checkpoint of a fit."""
        deadline = time.monotonic() + seconds
        while not list(self.root.glob(".doubleroute/partial/fit-*/0*")):
            assert self.process.poll() is None, self.err
            assert time.monotonic() < deadline, self.err
            time.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """Every living process that inherited this run's environment: its id and command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{_MARK}={self.mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended while we looked, or is not ours
                continue
            if state != "Z":
                found[int(folder.name)] = words
        return found

    def seconds_until_alone(self, patience: float = 60) -> float:
        """How long processes of the run are still there."""
        begun = time.monotonic()
        while self.processes() and time.monotonic() - begun < patience:
            time.sleep(0.05)
        assert not self.processes()
        return time.monotonic() - begun
