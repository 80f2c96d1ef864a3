"""Four tasks of a text over HTTP: one served model of all tasks against four served models of one.

    python benchmarks/serving.py [--requests 25] [--of-clients 12] [--rounds 2] [--threads N]

The models are those of contenders.py, on processors, each served by `mlflow models serve` as the README says,
the one of all tasks by PyTorch and with its exported int8 graph (DOUBLEROUTE_EXPORT).
Every round asks every contender, in turns: a text at a time (p50), the four models one after the other and
all at once; and with 16 clients that ask at once (texts/s). ``--threads``: of each server, which is given as
many processors: others than the servers before it, as long as there are any.
"""

import argparse
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU would answer on one side alone
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands set them: environment.py
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from contenders import LEARNED, TASKS, rows, shared_models
from measure import Line, processors, tell

from doubleroute.digests import model_digest
from doubleroute.integrations.registry_package import package
from doubleroute.linear import cores
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.onnx_answerer import write_about
from doubleroute.serving.precision import FOLDER

CLIENTS = 16
LEAST = 5.0
AFTER, AT_ONCE = "4 served PyTorch models, one after the other", "4 served PyTorch models, at once"
#: What answers a text for all tasks.
Ask = Callable[[str], Any]


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=25)
    parser.add_argument("--of-clients", type=int, default=12, help="requests of each of the clients")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()
    count = LEARNED + (2 * options.requests + CLIENTS * options.of_clients) * options.rounds
    texts, _ = rows(count)
    with (
        tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch,
        shared_models(count) as models,
        ExitStack() as stack,
    ):
        ours, theirs = packages(Path(scratch), models, texts[0])
        export = {FOLDER: str(Path(scratch) / "int8")}
        started = {
            "PyTorch": stack.enter_context(served(ours, 0, options.threads, {})),
            "int8 graph": stack.enter_context(served(ours, 1, options.threads, export)),
        }
        peers = [
            stack.enter_context(served(place, number, options.threads, {}))
            for number, place in enumerate(theirs, start=len(started))
        ]
        for server in (*started.values(), *peers):  # they start at once
            wait(server)
        pool = stack.enter_context(ThreadPoolExecutor(len(peers)))
        ports = [each.port for each in peers]
        alone: dict[str, Ask] = {name: asker([each.port]) for name, each in started.items()}
        alone |= {AFTER: asker(ports), AT_ONCE: asker(ports, pool)}
        several = {name: [asker([each.port]) for _ in range(CLIENTS)] for name, each in started.items()} | {
            AFTER: [asker(ports) for _ in range(CLIENTS)]
        }
        report(alone, several, texts[LEARNED:], options.rounds, (options.requests, options.of_clients))


def packages(folder: Path, models: Path, text: str) -> tuple[Path, list[Path]]:
    """The packages to serve: of all tasks, its graph in int8 beside it, and of each task."""
    shutil.copytree(models / "int8", folder / "int8")
    write_about(folder / "int8", {"precision": "int8", "model": model_digest(models / "whole")})
    made = []
    for model in (models / name for name in ("whole", *TASKS)):
        examples = [{"text": text}]
        place = folder / "packages" / model.name
        package(model, place, examples, Answerer(model).answer(examples), "benchmark", "benchmark")
        made.append(place)
    return made[0], made[1:]


class Server(NamedTuple):
    """A process that serves a package on a port of the loopback interface."""

    process: subprocess.Popen[bytes]
    port: int


@contextmanager
def served(place: Path, number: int, threads: int, environment: dict[str, str]) -> Iterator[Server]:
    """`mlflow models serve` of a package, on its ``processors``; it may not be up yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tools = str(Path(sys.executable).parent)
    command = f"{tools}/mlflow models serve -m {place} --env-manager local --port {port}"
    server = subprocess.Popen(
        command.split(),
        env={
            **os.environ,
            **environment,
            "OMP_NUM_THREADS": str(threads),
            "PATH": os.pathsep.join([tools, os.environ["PATH"]]),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if hasattr(os, "sched_setaffinity"):  # without it a graph has a thread for each processor of the machine
        os.sched_setaffinity(server.pid, processors(number, threads))
    try:
        yield Server(server, port)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait(server: Server) -> None:
    """Until it answers."""
    until = time.monotonic() + 300
    while not is_up(server.port):
        if server.process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"no server: {server.process.args!r}")
        time.sleep(0.5)


def is_up(port: int) -> bool:
    """Whether the server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def asker(ports: Sequence[int], pool: ThreadPoolExecutor | None = None) -> Ask:
    """Asks each server, one after the other or at once."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports]

    def post(connection: http.client.HTTPConnection, text: str) -> dict[str, Any]:
        body = json.dumps({"dataframe_records": [{"text": text}]})
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        (answer,) = json.load(connection.getresponse())["predictions"]
        connection.close()  # the server ends one that rests for five seconds
        return dict(answer)

    def ask(text: str) -> dict[str, Any]:
        run = map if pool is None else pool.map
        return {
            task: each
            for answer in run(post, connections, [text] * len(ports))
            for task, each in answer.items()
        }

    return ask


def report(
    alone: dict[str, Ask],
    several: dict[str, list[Ask]],
    texts: Sequence[str],
    rounds: int,
    counts: tuple[int, int],
) -> None:
    """Measure in turns, and print: p50 of a text at a time, and texts a second of many clients. A served
    model keeps its latest answers: no text is asked twice of the same one. ``counts``: requests of a round,
    and of each of many clients."""
    requests, of_each = counts
    p50: dict[str, list[float]] = {name: [] for name in alone}
    rate: dict[str, list[float]] = {name: [] for name in several}
    for number, each in enumerate((*alone.values(), *(ask for asks in several.values() for ask in asks))):
        assert set(each(f"warm {number}")) == set(TASKS)  # first calls allocate
    fresh = iter(texts)
    for _ in range(rounds):
        once = {name: list(itertools.islice(fresh, requests)) for name in ("served", AT_ONCE)}
        for name, ask in alone.items():
            taken = []
            for text in once.get(name, once["served"]):
                start = time.perf_counter()
                ask(text)
                taken.append(time.perf_counter() - start)
            p50[name].append(statistics.median(taken) * 1000)
        of_clients = [list(itertools.islice(fresh, of_each)) for _ in range(CLIENTS)]
        for name, asks in several.items():
            start = time.perf_counter()
            with ThreadPoolExecutor(len(asks)) as pool:
                list(pool.map(lambda ask, mine: [ask(text) for text in mine], asks, of_clients))
            rate[name].append(len(asks) * of_each / (time.perf_counter() - start))
    work = f"{len(TASKS)} tasks of one text over HTTP, p50"
    for name, peer, least in (
        ("PyTorch", AFTER, None),
        ("int8 graph", AFTER, LEAST),
        ("int8 graph", AT_ONCE, None),
    ):
        tell(Line(f"{work}, {name}", peer, "ms", p50[name], p50[peer], least))
    work = f"{len(TASKS)} tasks of a text over HTTP, {CLIENTS} clients at once"
    for name in ("PyTorch", "int8 graph"):
        tell(Line(f"{work}, {name}", AFTER, "texts/s", rate[name], rate[AFTER]))


if __name__ == "__main__":
    main()
