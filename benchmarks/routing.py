"""What the router costs a training step, and what tasks with the same texts save.

    python benchmarks/routing.py [--rounds 3] [--rows 800]

All layers of MiniLM learn on one thread, in turns within one process, on the same batches of 32 rows; the
seconds are those after the first steps. The routed model has the default experts. Rows are Rotten Tomatoes
reviews with WNUT-17 tweets (two tasks, no text in common) and SNIPS sentences (intent and slots of each).
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from measure import Line, tell
from reviews import MAX_TOKENS, SOURCE, read
from transformers.utils.logging import disable_progress_bar

from doubleroute.config import load_project
from doubleroute.integrations.validation import validate
from doubleroute.training.encode import encode
from doubleroute.training.fit import Learner
from doubleroute.training.machine import resolve_precision
from doubleroute.training.variants import Name, variant
from doubleroute.workspace import Workspace

BATCH, WARM = 32, 2
DATA = Path(__file__).parents[2] / "shared" / "data"
KINDS = {"reviews": "classification", "tweets": "tagging", "intent": "classification", "slots": "tagging"}


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=800, help="of each task")
    options = parser.parse_args()
    disable_progress_bar()
    found: dict[str, list[float]] = {name: [] for name in ("routed", "plain", "both", "each")}
    with tempfile.TemporaryDirectory() as scratch:
        two, both = (project(Path(scratch) / "-".join(names), names, options.rows) for names in PAIRS)
        alone = [project(Path(scratch) / name, [name], options.rows) for name in PAIRS[1]]
        for _ in range(options.rounds):
            found["routed"].append(step_seconds(two, "routed"))
            found["plain"].append(step_seconds(two, "plain"))
            # A batch of both has the rows of two: per text of both tasks the figure is that of a step.
            found["both"].append(step_seconds(both, "plain") * 2)
            found["each"].append(sum(step_seconds(each, "plain") for each in alone))
    scaled = {name: [1000 * each for each in values] for name, values in found.items()}
    what = "a training step of all layers with the default experts, two tasks, one thread"
    tell(Line(what, "the same without router", "ms", scaled["routed"], scaled["plain"], round(1 / 1.15, 2)))
    what = f"training intent and slots of {BATCH} texts, all layers, one thread: one pass for both"
    tell(Line(what, "a model for each task", "ms", scaled["both"], scaled["each"]))


PAIRS = (["reviews", "tweets"], ["intent", "slots"])


def rows(name: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a task."""
    if name == "reviews":
        texts, labels = read()["rotten_tomatoes"]
        pairs = zip(texts[:count], labels[:count], strict=True)
        return [{"text": text, "label": label} for text, label in pairs]
    file = DATA / ("wnut17" if name == "tweets" else "snips") / "train.jsonl"
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:count]]
    wanted = ("text", "label") if KINDS[name] == "classification" else ("tokens", "tags")
    return [{key: row[key] for key in wanted} for row in found]


def project(root: Path, names: list[str], count: int) -> Path:
    """Write a project of these tasks."""
    root.mkdir()
    tasks = []
    for name in names:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(name, count)]
        (root / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        tasks.append(
            f"{name}: {{kind: {KINDS[name]}, files: {{train: {name}.jsonl}}, "
            "split: {validation: 0.02, test: 0.02}}"
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
    opened, workspace = load_project(root), Workspace(root)
    validated = validate(opened, workspace)
    encoded = encode(opened, workspace, validated)
    precision = resolve_precision("auto")
    learner = Learner(opened, variant(opened, name), validated, encoded, None, precision)
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        partial = Path(scratch) / "partial"
        partial.mkdir()
        learner.run(Path(scratch), partial, points.append)
    first, last = next(each for each in points if each["step"] >= WARM), points[-1]
    return float((last["seconds"] - first["seconds"]) / (last["step"] - first["step"]))


if __name__ == "__main__":
    main()
