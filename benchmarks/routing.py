"""What the router costs a training step, and what tasks with the same texts save.

    python benchmarks/routing.py [--rounds 2] [--rows 192]

All layers of MiniLM learn on one thread, in turns within one process, on the same batches of 32 rows; the
seconds are those after the first steps. The routed model has the default experts. Rows are Rotten Tomatoes
reviews with WNUT-17 tweets (two tasks, no text in common) and SNIPS sentences (intent and slots of each).
A line whose data set is not there (sets.py) is skipped.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from fits import learner_of, ready, train, write_rows
from measure import Line, skip, tell
from reviews import MAX_TOKENS, SOURCE, read
from sets import missing, rows_of
from transformers.utils.logging import disable_progress_bar

from doubleroute.training.variants import Name

BATCH, WARM = 32, 2
ROUTED = "a training step of all layers with the default experts, two tasks, one thread"
TOGETHER = f"training intent and slots of {BATCH} texts, all layers, one thread: one pass for both"
KINDS = {"reviews": "classification", "tweets": "tagging", "intent": "classification", "slots": "tagging"}


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=192, help="of each task")
    options = parser.parse_args()
    disable_progress_bar()
    for what, data_set, measured in ((ROUTED, "wnut17", routed), (TOGETHER, "snips", together)):
        if gone := missing([data_set]):
            skip(what, f"{gone[0]} is not there")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            measured(Path(scratch), options.rounds, options.rows)


def routed(scratch: Path, rounds: int, count: int) -> None:
    """The line of the router."""
    two = project(scratch / "two", ["reviews", "tweets"], count)
    found: dict[Name, list[float]] = {"routed": [], "plain": []}
    for _ in range(rounds):
        for name, seconds in found.items():
            seconds.append(1000 * step_seconds(two, name))
    tell(Line(ROUTED, "the same without router", "ms", found["routed"], found["plain"], round(1 / 1.15, 2)))


def together(scratch: Path, rounds: int, count: int) -> None:
    """The line of two tasks that have the same texts."""
    names = ["intent", "slots"]
    both = project(scratch / "both", names, count)
    alone = [project(scratch / name, [name], count) for name in names]
    ours, theirs = [], []
    for _ in range(rounds):
        # A batch of both has the rows of two: per text of both tasks the figure is that of a step.
        ours.append(1000 * step_seconds(both, "plain") * 2)
        theirs.append(1000 * sum(step_seconds(each, "plain") for each in alone))
    tell(Line(TOGETHER, "a model for each task", "ms", ours, theirs))


def rows(name: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a task."""
    if name == "reviews":
        texts, labels = read()["rotten_tomatoes"]
        pairs = zip(texts[:count], labels[:count], strict=True)
        return [{"text": text, "label": label} for text, label in pairs]
    found = rows_of("wnut17" if name == "tweets" else "snips", "train")[:count]
    wanted = ("text", "label") if KINDS[name] == "classification" else ("tokens", "tags")
    return [{key: row[key] for key in wanted} for row in found]


def project(root: Path, names: list[str], count: int) -> Path:
    """Write a project of these tasks."""
    root.mkdir()
    tasks = []
    for name in names:
        write_rows(root / f"{name}.jsonl", rows(name, count))
        tasks.append(
            f"{name}: {{kind: {KINDS[name]}, files: {{train: {name}.jsonl}}, "
            "split: {validation: 0.05, test: 0.05}}"
        )
    (root / "project.yaml").write_text(
        f"name: bench\nbackbone: {{source: '{SOURCE}', max_tokens: {MAX_TOKENS}}}\n"
        f"router: {{kind: experts}}\ntasks: {{{', '.join(tasks)}}}\nvalidation: {{max_invalid: 0.5}}\n"
        f"training: {{epochs: 1, batch_size: {BATCH}, trainable: all, checkpoint_seconds: 3600}}\n",
        encoding="utf-8",
    )
    return root


def step_seconds(root: Path, name: Name) -> float:
    """Seconds of a step of a fit, as `doubleroute train` runs it."""
    with tempfile.TemporaryDirectory() as scratch:
        points = train(learner_of(ready(root), name), Path(scratch) / "out")
    first, last = next(each for each in points if each["step"] >= WARM), points[-1]
    return float((last["seconds"] - first["seconds"]) / (last["step"] - first["step"]))


if __name__ == "__main__":
    main()
