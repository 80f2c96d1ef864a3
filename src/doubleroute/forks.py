"""Child processes forked from one that has libraries imported and has done nothing else, the *fork server*.

Importing torch, transformers and MLflow takes a new interpreter three seconds of processor time; a fork has
them. The fork server is a copy of this process where it has one thread and has computed nothing: a fork
beside OpenMP's threads or a GPU's context would hang. Elsewhere it is a new interpreter,
``python -m doubleroute.forks DESCRIPTOR``. The modules of doubleroute are not handed on: a child imports its
own, which for a registered model are those stored with it.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

#: What a child does not hear: whoever started it ends it.
STOPS = frozenset({signal.SIGINT, signal.SIGTERM})
_PR_SET_PDEATHSIG = 1
#: Bytes of an order, its environment included.
_MOST = 1 << 20

_server: "socket.socket | None" = None
#: Held while one is made: a second one would take the place of the first, which then ends with its children.
_making = threading.Lock()


def end_with_parent(parent: int | None = None) -> None:
    """Called first thing in a child: on Linux the kernel then ends it when its parent dies, however.

    ``parent`` is the process id of the parent as itself told it: the parent may be dead before the call.
    """
    if sys.platform == "linux":
        parent = parent or os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def keep(libraries: Sequence[str] = ()) -> None:
    """Keep a fork server for ``start`` from here on that has these modules; one is enough.

    Where this process may be copied it imports them too. Nothing is kept outside Linux and with a GPU.
    """
    with _making:
        if sys.platform == "linux" and _server is None:
            _keep(libraries)


def _keep(libraries: Sequence[str]) -> None:
    global _server
    copied = "torch" not in sys.modules and threading.active_count() == 1
    if copied:
        _import(libraries)
        copied = threading.active_count() == 1  # a library may have begun another
    if _has_gpu():
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in (ours, theirs):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        end = _copy(ours, theirs) if copied else _new_interpreter(theirs, libraries)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    _server = ours
    atexit.register(_end, end)


def _copy(ours: socket.socket, theirs: socket.socket) -> Callable[[], object]:
    """Fork the server; give what waits for its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a collection would write to all that a child shares with us
    parent = os.getpid()
    server = os.fork()
    if server == 0:
        try:
            end_with_parent(parent)
            ours.close()
            _Server(theirs).serve()
        finally:
            os._exit(1)
    return lambda: os.waitpid(server, 0)


def _new_interpreter(theirs: socket.socket, libraries: Sequence[str]) -> Callable[[], object]:
    """Start the server; give what waits for its end. It ends when our socket is closed, and not with the
    thread that started it."""
    number = theirs.fileno()
    command = [sys.executable, "-P", "-m", "doubleroute.forks", str(number), *libraries]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, pass_fds=[number], stdin=null, stdout=null).wait


def _import(libraries: Sequence[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what libraries have deprecated
        for name in libraries:
            importlib.import_module(name)


def _end(wait: Callable[[], object]) -> None:
    """End the fork server with all that it has started, and wait for it."""
    global _server
    if _server is not None:
        _server.close()
        _server = None
        wait()


def _has_gpu() -> bool:
    """Asked without making a context, which a fork would break."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return bool(torch.cuda.is_available())


class Forked:
    """A forked child, as far as needed like a Popen. ``code`` is its exit code, below 0 its signal."""

    def __init__(self, status: int, stdin: "IO[Any] | None", stdout: "IO[Any] | None") -> None:
        self._status, self.stdin, self.stdout = status, stdin, stdout
        self.returncode: int | None = None
        self._said = b""
        self._read(None, b"\n")
        self.pid = int(self._said.partition(b"\n")[0] or -1)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        if self.returncode is None:
            self._read(timeout, None)
            said = self._said.partition(b"\n")[2].strip()
            self.returncode = int(said) if said else -signal.SIGKILL  # the fork server was killed
            os.close(self._status)
        return self.returncode

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self.poll() is None and _server is not None:
            with contextlib.suppress(OSError):
                _server.send(json.dumps({"kill": self.pid}).encode())

    def _read(self, timeout: float | None, until: bytes | None) -> None:
        """Read what the fork server says of the child, up to ``until`` or to the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while until is None or until not in self._said:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._status], [], [], left)[0]:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
            got = os.read(self._status, 4096)
            if not got:
                return
            self._said += got


def start(
    target: str,
    arguments: Sequence[str],
    *,
    stdin: Any = subprocess.DEVNULL,
    stdout: Any = None,
    stderr: Any = None,
    text: bool = False,
    env: Mapping[str, str] | None = None,
    libraries: Sequence[str] = (),
) -> Forked | None:
    """Run a module, or a file that ends with .py, as ``__main__`` in a fork; None without a fork server.

    The options are those of Popen; stdin and stdout may be PIPE, stderr may not. ``libraries``: modules that
    the fork server imports first, unless it has, for this child and all that follow.
    """
    if _server is None:
        return None
    environment = dict(os.environ if env is None else env)
    words = {"argv": [target, *arguments], "libraries": list(libraries)}
    order = {**words, "env": environment, "cwd": str(Path.cwd())}
    status, said = os.pipe()
    given, ours = zip(*map(_stream, range(3), (stdin, stdout, stderr), [text] * 3), strict=True)
    try:
        socket.send_fds(_server, [json.dumps(order).encode()], [*given, said])
    except OSError:  # it was killed, or the environment is too large
        for each in (*ours, os.fdopen(status, "rb")):
            if each is not None:
                each.close()
        return None
    finally:
        for each in {said, *given} - {0, 1, 2}:
            os.close(each)
    return Forked(status, *ours[:2])


def _stream(number: int, wanted: Any, text: bool) -> tuple[int, "IO[Any] | None"]:
    """A descriptor for the child's stream of this number, to be closed here, and our end of a pipe."""
    if wanted is None:
        return number, None
    if wanted == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if wanted != subprocess.PIPE:
        return os.dup(wanted.fileno()), None
    reading, writing = os.pipe()
    theirs, mine, mode = (writing, reading, "r") if number else (reading, writing, "w")
    return theirs, os.fdopen(mine, mode if text else f"{mode}b", encoding="utf-8" if text else None)


class _Server:
    """Forks a child for every order; one thread, which computes nothing."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        #: For each child that runs, where its exit code is told.
        self.children: dict[int, int] = {}

    def serve(self) -> NoReturn:
        """Until the process that keeps this one ends."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        self.wakes, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        while True:
            ready = select.select([self.orders.fileno(), self.wakes], [], [])[0]
            if self.wakes in ready:
                os.read(self.wakes, 4096)
                self._tell_ends()
            if self.orders.fileno() in ready:
                self._take()

    def _take(self) -> None:
        message, fds, _, _ = socket.recv_fds(self.orders, _MOST, 4)
        if not message:  # closed
            for child in self.children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            os._exit(0)
        order = json.loads(message)
        if "kill" in order:
            if order["kill"] in self.children:
                os.kill(order["kill"], signal.SIGKILL)
            return
        with contextlib.suppress(Exception):  # the child meets it too, and can tell
            _import(order["libraries"])
        parent, child = os.getpid(), os.fork()
        if child == 0:
            _run(order, fds, [*self.children.values(), self.wakes, self.orders.fileno()], parent)
        for each in fds[:3]:
            os.close(each)
        self.children[child] = fds[3]
        with contextlib.suppress(BrokenPipeError):
            os.write(fds[3], f"{child}\n".encode())

    def _tell_ends(self) -> None:
        for child in list(self.children):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                place = self.children.pop(child)
                with contextlib.suppress(BrokenPipeError):
                    os.write(place, f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os.close(place)


def _run(order: Mapping[str, Any], fds: Sequence[int], foreign: Sequence[int], parent: int) -> NoReturn:
    """The life of a child: its streams, its environment, its module, its end."""
    code: int | None = None
    try:
        end_with_parent(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _take_streams(fds)
        for each in {*fds, *foreign}:
            os.close(each)
        os.environ.clear()
        os.environ.update(order["env"])
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        os.chdir(order["cwd"])
        for name in [each for each in sys.modules if each.partition(".")[0] == "doubleroute"]:
            del sys.modules[name]
        sys.argv = list(order["argv"])
        if sys.argv[0].endswith(".py"):
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if code is None:
            traceback.print_exc()
            code = 1
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _take_streams(fds: Sequence[int]) -> None:
    """Make the first three descriptors the standard streams."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(fds[number], number)
        how: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "closefd": False}
        stream = os.fdopen(number, "w" if number else "r", **how)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    _import(sys.argv[2:])
    gc.freeze()
    _Server(socket.socket(fileno=int(sys.argv[1]))).serve()
