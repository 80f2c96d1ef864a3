"""How quickly are four tasks of a text answered, and are the answers the same?

    python benchmarks/predict.py [--texts 600] [--compared 1000] [--rounds 3] [--requests 50] [--threads N]

The models are those of contenders.py. Every round runs every contender once, in turns, so that what else the
machine does meets all of them; ratios are those of one round. Wall and processor time are both printed: on a
machine that others use, the processor's is the steadier one. ``--compared``: other sentences on which
answers are compared.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands set them: environment.py
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from contenders import LEARNED, TASKS, Contender, make, rows
from measure import Line, tell
from reviews import MAX_TOKENS, SOURCE

from doubleroute.data.tokens import encode_texts
from doubleroute.linear import cores
from doubleroute.modeling.backbone import load_tokenizer, locate

#: Who is held against whom, and the ratio that is wanted.
BATCHES = (
    ("PyTorch, one pass", "4 transformers pipelines", 8.0),
    ("ONNX float32, one graph", "4 transformers pipelines", 8.0),
    ("ONNX int8, one graph", "4 transformers pipelines", 25.0),
    ("ONNX int8, one graph", "4 ONNX int8 sessions", 3.8),
)
REQUESTS = (("ONNX int8, one graph", "4 PyTorch models", 14.0),)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--compared", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts, labels = rows(LEARNED + options.texts + options.compared)
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        contenders = make(Path(scratch), texts[:LEARNED], labels, options.threads)
        asked, others = texts[LEARNED:][: options.texts], texts[LEARNED + options.texts :]
        tokens = int(encode_texts(load_tokenizer(locate(SOURCE, Path())), asked, MAX_TOKENS).lengths.sum())
        print(f"{len(asked):,} texts, {tokens:,} tokens, {len(TASKS)} tasks, {options.threads} threads")
        truths = {task: each[-len(others) :] for task, each in labels.items()}
        same = agreement(contenders, others, truths)
        for each in contenders.values():  # first calls allocate
            each(asked[:64])
        wall = batches(contenders, asked, tokens, options.rounds)
        lines(f"{len(TASKS)} tasks of {len(asked):,} texts", "s", wall, BATCHES, same)
        wall = requests(contenders, asked[: options.requests], options.rounds)
        lines(f"{len(TASKS)} tasks of one text, p50 in process", "ms", wall, REQUESTS, same)


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
    print(f"\nanswers to {len(texts):,} other texts")
    for name, run in contenders.items():
        if "pipelines" in name:
            continue
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
