"""How quickly are four tasks of a text answered, and are the answers the same?

    python benchmarks/predict.py [--texts 200] [--compared 1000] [--rounds 2] [--requests 30] [--threads N]

The models are those of contenders.py, on processors, also where there is a GPU. Many texts are answered on
one thread, for which ratios are wanted, and then on all processors, ours and the peers: a pipeline uses them
inside each product, and what ONNX Runtime runs has a thread a pass, which is quicker for the peer's sessions
too. Every round runs every contender once, in turns, so that what else the machine does meets all of them;
ratios are those of one round. Wall and processor time are both printed: on a machine that others use, the
processor's is the steadier one.
``--compared``: other sentences on which answers are compared.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU would answer on one side alone
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands set them: environment.py
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from contenders import EARLY, LEARNED, TASKS, Contender, make, rows, shared_models
from limits import float32, int8, operations
from measure import Line, agreeing, tell
from reviews import MAX_TOKENS, SOURCE

from doubleroute.data.tokens import encode_texts
from doubleroute.linear import cores
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.onnx_answerer import OnnxAnswerer
from doubleroute.modeling.source import locate

#: Who is held against whom, and the ratio that is wanted.
BATCHES = (
    ("PyTorch, one pass", "4 transformers pipelines", 8.0),
    ("ONNX float32, one graph", "4 transformers pipelines", 8.0),
    ("ONNX int8, one graph", "4 transformers pipelines", 25.0),
    ("ONNX int8, one graph", "4 ONNX int8 sessions", 3.8),
)
REQUESTS = (("ONNX int8, one graph", "4 PyTorch models", 14.0),)
#: The least share of answers that must be those of PyTorch in float32: int8 loses those that lie near a tie.
SAME = {"PyTorch, one pass": 1.0, "ONNX float32, one graph": 1.0, "ONNX int8, one graph": 0.98}


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--compared", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()
    count = LEARNED + options.texts + options.compared
    texts, labels = rows(count)
    with shared_models(count) as folder:
        asked, others = texts[LEARNED:][: options.texts], texts[LEARNED + options.texts :]
        contenders = at(folder, options.threads)
        truths = {task: each[-len(others) :] for task, each in labels.items()}
        same = agreement(contenders, others, truths)
        wall = requests(contenders, asked[: options.requests], options.rounds)
        work = f"{len(TASKS)} tasks of one text, p50 in process"
        for ours, theirs, least in REQUESTS:
            tell(
                Line(f"{work}, {ours}", theirs, "ms", wall[ours], wall[theirs], least, note=noted(same, ours))
            )
        del contenders
        early(folder, asked, options.rounds)
        limits = most_texts(folder, asked)
        for threads in sorted({1, options.threads}):
            many(folder, asked, threads, options.rounds, limits, same)


def early(folder: Path, texts: Sequence[str], rounds: int) -> None:
    """The lines of a task that reads a lower layer, against one that reads the last, each asked alone."""
    torch.set_num_threads(1)
    (task, layer), late = next(iter(EARLY.items())), next(task for task in TASKS if task not in EARLY)
    rows = [{"text": text} for text in texts]
    graph = OnnxAnswerer(folder / "early-float32", 1)
    made = {"PyTorch": Answerer(folder / "early", 1), "ONNX float32": graph}
    for name, answerer in made.items():
        speed: dict[str, list[float]] = {task: [], late: []}
        for each in speed:
            answerer.answer(rows[:64], [each])  # first calls allocate, and open a graph
        for _ in range(rounds):
            for each, found in speed.items():
                begun = time.perf_counter()
                answerer.answer(rows, [each])
                found.append(len(rows) / (time.perf_counter() - begun))
        work = f"one task that reads layer {layer} of 6, {len(texts):,} texts, one thread, {name}"
        tell(Line(work, "one that reads the last layer", "texts/s", speed[task], speed[late]))


def at(folder: Path, threads: int, texts: Sequence[str] = ("a text",) * 2) -> dict[str, Contender]:
    """The contenders at so many threads, each called once: first calls allocate."""
    torch.set_num_threads(threads)
    contenders = make(folder, threads)
    for each in contenders.values():
        each(list(texts))
    return contenders


def many(
    folder: Path,
    texts: list[str],
    threads: int,
    rounds: int,
    limits: Mapping[str, float],
    same: Mapping[str, float],
) -> None:
    """The lines of many texts at once."""
    contenders = at(folder, threads, texts[:64])
    del contenders["4 PyTorch models"]  # a pipeline is what people have
    speed = batches(contenders, texts, threads, rounds)
    # The name of a line is the same on every machine, so that it finds the kept one.
    on, count = ("one thread", "") if threads == 1 else ("several threads", f"{threads} threads; ")
    work = f"{len(TASKS)} tasks of {len(texts):,} texts, {on}"
    for ours, theirs, least in BATCHES:
        limit = threads * limits["int8" if "int8" in ours else "float32"]
        given = (speed[ours], speed[theirs], least if threads == 1 else None, limit)
        tell(Line(f"{work}, {ours}", theirs, "texts/s", *given, count + noted(same, ours)))


def most_texts(folder: Path, texts: Sequence[str]) -> dict[str, float]:
    """Texts a second if one thread did nothing but the products of a pass, without padding."""
    tokenizer = load_tokenizer(locate(SOURCE, Path()))
    tokens = int(encode_texts(tokenizer, texts, MAX_TOKENS).lengths.sum())
    work = operations(folder / "whole") * tokens / len(texts)
    torch.set_num_threads(1)
    rates = {"float32": float32(), "int8": int8()}
    for name, rate in rates.items():
        print(
            f"{name}: products reach {rate / 1e9:.0f} G operations/s on one thread; a text: {work / 1e9:.2f}"
        )
    return {name: rate / work for name, rate in rates.items()}


def noted(same: Mapping[str, float], ours: str) -> str:
    """What a line says beside its figures."""
    return agreeing(same[ours], SAME[ours], "PyTorch in float32")


def agreement(
    contenders: Mapping[str, Contender], texts: list[str], labels: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Of each contender the accuracies, and the share of its answers that are PyTorch's, which it gives."""
    reference, shares = None, {}
    print(f"\nanswers to {len(texts):,} other texts")
    for name, run in contenders.items():
        if name not in ("PyTorch, one pass", *(ours for ours, *_ in BATCHES), "4 ONNX int8 sessions"):
            continue  # random heads, or PyTorch again
        found = run(texts)
        reference = reference or found
        same = {
            task: np.mean([a[task] == b[task] for a, b in zip(found, reference, strict=True)])
            for task in TASKS
        }
        right = {
            task: np.mean([row[task] == label for row, label in zip(found, labels[task], strict=True)])
            for task in TASKS
        }
        shares[name] = float(np.mean(list(same.values())))
        each = ", ".join(f"{task} {same[task]:.2%} ({right[task]:.4f})" for task in TASKS)
        print(f"{name:<26} {shares[name]:.2%} as PyTorch (accuracy): {each}", flush=True)
    return shares


def batches(
    contenders: Mapping[str, Contender], texts: list[str], threads: int, rounds: int
) -> dict[str, list[float]]:
    """All texts at once; texts a second of each round."""
    wall, processor = timed(contenders, [texts], rounds)
    base = next(iter(contenders))
    print(f"\n{len(texts):,} texts at once, {threads} threads, {rounds} rounds: median (least to most)")
    for name in contenders:
        print(
            f"{name:<26} {told(wall[name])} s wall, {told(processor[name])} s of processors; "
            f"PyTorch takes {told(ratios(wall, base, name))} times as long by the wall clock, "
            f"{told(ratios(processor, base, name))} by processor time"
        )
    return {name: [len(texts) / each for each in taken] for name, taken in wall.items()}


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
