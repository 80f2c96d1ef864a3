"""An exported graph that answers texts: one ONNX Runtime session for all tasks."""

import json
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from doubleroute.data.batches import Inputs, by_tokens
from doubleroute.data.tokens import FileTokenizer, Packed, read_tokenizer, write_tokenizer
from doubleroute.digests import file_digest
from doubleroute.errors import MachineError, ModelError
from doubleroute.kinds import kind
from doubleroute.linear import cores
from doubleroute.modeling.answering import ASKED, LEAST_A_PASS, TOKENS_A_PASS, Answering, in_passes
from doubleroute.workspace import write_json

if TYPE_CHECKING:
    import onnxruntime

GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
#: The model's own files beside the graph; the last two are read by the code of earlier versions, which a
#: served model brings along.
_COPIED = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
#: What the heads keep for decoding, beside the graph: float32 arrays "<task>/<name>"; not there when empty.
KEPT = "kept.npz"
#: What the exported folder is: {"files": {name: sha256}, ...}; every file but itself stands in it.
ABOUT = "export.json"
#: The name of a task's output in the graph is this and the task's.
OUTPUT = "logits."
#: What ONNX Runtime's optimiser must not do: its fused residual and norm takes six times as long as the two
#: (MiniLM, one thread).
SLOWER = ["SkipLayerNormFusion"]


@final
class OnnxAnswerer(Answering):
    """A model run by ONNX Runtime on the processor, from a folder that ``doubleroute export`` made. Tasks
    that read lower layers have graphs that end there, for when no other task is asked.

    ``threads``: by default one for each core. A single pass has them all; of several passes each has one, as
    threads that share a product wait for each other at its end. Raises ModelError when a file is missing or
    is not the one that was exported, MachineError when ONNX Runtime is not installed.
    """

    tokenizer: FileTokenizer

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.precision = str(read_about(folder)["precision"])
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.threads = threads or cores()
        self._folder, self._lock = folder, threading.Lock()
        self._sessions: dict[tuple[str, int], onnxruntime.InferenceSession] = {}
        self._session(GRAPH, self.threads)  # one that cannot be opened is told now
        self.tokenizer = read_tokenizer(folder / TOKENIZER)
        self.max_tokens = int(config["max_tokens"])
        self.tasks = {
            task: {key: config["tasks"][task][key] for key in ASKED if key in config["tasks"][task]}
            for task in config["task_names"]
        }
        self.kept = _read_kept(folder, self.tasks)
        self._layers = {task: config["tasks"][task].get("layer") for task in self.tasks}

    def _run(
        self, packed: Packed, tasks: Sequence[str], words: Sequence[int] | None
    ) -> dict[str, list[np.ndarray]]:
        per_token = {task: kind(self.tasks[task]["kind"]).per_token for task in tasks}

        share = -(-int(packed.lengths.sum()) // self.threads)
        budget = min(TOKENS_A_PASS, max(share, LEAST_A_PASS))
        together = len(by_tokens(packed.lengths, budget)) < 2
        session = self._session(self._graph_of(tasks), self.threads if together else 1)

        def run(inputs: Inputs[np.ndarray]) -> dict[str, np.ndarray]:
            return run_graph(session, inputs, tasks)

        pad_id = self.tokenizer.pad_token_id
        return in_passes(run, packed, per_token, pad_id, words, budget=budget, workers=self.threads)

    def _graph_of(self, tasks: Sequence[str]) -> str:
        """The file of the smallest graph that answers these tasks."""
        layers = [self._layers[task] for task in tasks]
        name = GRAPH if None in layers else graph_up_to(max(layers))
        # Up to the highest layer that any task reads it is the whole one.
        return name if (self._folder / name).is_file() else GRAPH

    def _session(self, graph: str, threads: int) -> "onnxruntime.InferenceSession":
        """A session of so many threads; with one, passes may be side by side. Opened when it is first needed:
        its weights are a copy of their own."""
        with self._lock:
            if (graph, threads) not in self._sessions:
                self._sessions[graph, threads] = open_session(self._folder / graph, threads)
            return self._sessions[graph, threads]


def graph_up_to(layer: int) -> str:
    """The file of the graph of the tasks that read no higher layer than this one."""
    return f"layer-{layer}.onnx"


def run_graph(
    session: "onnxruntime.InferenceSession", inputs: Inputs[np.ndarray], tasks: Sequence[str]
) -> dict[str, np.ndarray]:
    """Logits of one batch: {task: float32 [batch, outputs] or [batch, seq, outputs]}."""
    found = session.run([OUTPUT + task for task in tasks], feed_of(session, inputs))
    return dict(zip(tasks, found, strict=True))


def feed_of(session: "onnxruntime.InferenceSession", inputs: Inputs[np.ndarray]) -> dict[str, np.ndarray]:
    """A batch as the graph's inputs."""
    given = {name: np.asarray(value) for name, value in inputs.keywords.items()}
    given.setdefault("token_type_ids", np.zeros_like(given["input_ids"]))
    return {each.name: given[each.name] for each in session.get_inputs()}


def open_session(graph: Path, threads: int | None = None) -> "onnxruntime.InferenceSession":
    """Load a graph on the processor. Raises ModelError for a file that is no graph, MachineError when
    ONNX Runtime is not installed."""
    runtime, options = onnx_runtime(), session_options(threads)
    try:
        return runtime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER
        )
    except Exception as error:  # ONNX Runtime has a class of its own for each status, none of them public
        raise ModelError(f"{graph} is no graph that ONNX Runtime reads: {error}") from error


def session_options(threads: int | None = None) -> "onnxruntime.SessionOptions":
    """For every session: so many threads (by default one for each core), and warnings are not printed."""
    options = onnx_runtime().SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Threads that wait sleep, as everywhere here (environment.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def onnx_runtime() -> Any:
    """The package onnxruntime. Raises MachineError naming the extra when it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MachineError(missing("onnxruntime")) from error
    return onnxruntime


def missing(package: str) -> str:
    """What to do when a package of the extra is not installed."""
    cure = "in doubleroute's folder, `pip install -c constraints.txt -e '.[onnx]'` brings it"
    return f"the Python package '{package}' is not installed; {cure}"


def write_beside(folder: Path, model: Path, answerer: Answering) -> None:
    """Write what answering needs beside the graph of a saved model: its config, the ``answerer``'s tokenizer
    and what its heads keep for decoding."""
    for name in _COPIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / name)
    write_tokenizer(answerer.tokenizer, folder / TOKENIZER)
    arrays: dict[str, Any] = {
        f"{task}/{name}": each for task, of in answerer.kept.items() for name, each in of.items()
    }
    if arrays:
        np.savez(folder / KEPT, **arrays)


def _read_kept(folder: Path, tasks: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {task: {} for task in tasks}
    if (folder / KEPT).is_file():
        with np.load(folder / KEPT, allow_pickle=False) as arrays:
            for key in arrays.files:
                task, name = key.split("/")
                found[task][name] = arrays[key]
    return found


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what the exported folder is, with the sha256 of every file in it."""
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != ABOUT}
    write_json(folder / ABOUT, {**about, "files": files})


def read_about(folder: Path) -> dict[str, Any]:
    """What the exported folder is, every file checked. Raises ModelError naming the first file that is
    missing or not the one that was exported."""
    advice = "run `doubleroute export` again"
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        files = {**dict.fromkeys((GRAPH, "config.json", TOKENIZER), ""), **about["files"]}
        about["precision"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{folder} holds no exported model ({ABOUT} with digests); {advice}") from None
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing; {advice}")
        about_it = path.stat()
        if _digest(path, (about_it.st_ino, about_it.st_size, about_it.st_mtime_ns)) != digest:
            raise ModelError(f"{path} is damaged: its sha256 is not the exported one; {advice}")
    return about


@lru_cache(maxsize=64)
def _digest(path: Path, state: tuple[int, ...]) -> str:  # noqa: ARG001  another state is another file
    """The sha256 of a file in this state: what chooses a graph and what opens it read it once."""
    return file_digest(path)
