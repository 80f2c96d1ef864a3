"""Does routing help on six real data sets? One command, a Markdown table for docs/results.md.

    python benchmarks/six_sets.py --folder DIR [--share 0.1] [--test 500] [--seeds 3] [--epochs 3]
                                  [--seed 17] [--routers experts] [--backbone SOURCE]

Banking77, CLINC150 (in scope), SNIPS intents and slots, WNUT-17, STS-B and Rotten Tomatoes are seven tasks of
one model. `doubleroute compare` fits, at equal steps and on the same rows, a model for each task, one without
router, and for each router one with it and one with a dense layer as large. A seeded share of the training
rows of each file is taken, and at most so many test rows. sets.py says where the data sets are looked for.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from reviews import SOURCE, read
from sets import missing, rows_of

#: Of the sets without a dev file a tenth of the training rows is split off.
SETS = {"banking77": False, "clinc150": True, "snips": True, "wnut17": True, "stsb_en": True}
PROJECT = """\
name: six-sets
seed: {seed}
backbone: {{source: '{source}', max_tokens: 128}}
router: {{kind: experts, experts: 4, bottleneck: 64}}
tasks:
  banking: {{kind: classification, files: {{train: banking77/train.jsonl, test: banking77/test.jsonl}},
             split: {{validation: 0.1}}}}
  clinc: {{kind: classification, files: {clinc150}}}
  snips_intent: {{kind: classification, files: {snips}}}
  snips_slots: {{kind: tagging, files: {snips}}}
  wnut: {{kind: tagging, files: {wnut17}}}
  similarity: {{kind: regression, files: {stsb_en},
                columns: {{text: text_a, text_pair: text_b, label: score}}}}
  reviews: {{kind: classification, files: {{train: reviews/train.jsonl, test: reviews/test.jsonl}},
             split: {{validation: 0.1}}}}
validation: {{max_invalid: 0.2}}
training: {{epochs: {epochs}, trainable: {trainable}, learning_rate: 1.2e-4, dropout: 0.0,
           sampling_temperature: 1.5}}
evaluation: {{bootstrap: 1000, baselines: [plain]}}
"""
#: Published figures beside which the scores stand.
ANCHORS = {
    "banking": "BERT-base 0.926 to 0.937",
    "clinc": "DistilBERT 0.91 to 0.95",
    "wnut": "DistilBERT 0.42 to 0.45",
    "similarity": "BERT-base 0.85 to 0.89",
    "reviews": "MiniLM-L6 0.915 (on SST-2)",
}


def main() -> None:
    """Write the project, compare, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--share", type=float, default=0.1, help="of the training rows")
    parser.add_argument("--test", type=int, default=500, help="test rows of each task, at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17, help="the first one, and that of the rows taken")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--trainable", default="3", help="how many top layers learn, or all")
    parser.add_argument("--routers", default="experts", help="as doubleroute compare takes them")
    parser.add_argument("--backbone", default=SOURCE)
    parser.add_argument(
        "--folder", type=Path, required=True, help="of the project; stages in it are found again"
    )
    options = parser.parse_args()
    if gone := missing(SETS):
        parser.error(f"data sets are not there, beside the folder of this checkout: {', '.join(gone)}")
    write(options)
    program = str(Path(sys.executable).with_name("doubleroute"))
    command = [program, "compare", "--project", str(options.folder), "--json"]
    command += ["--seeds", str(options.seeds), "--routers", options.routers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(table(json.loads(done.stdout)))


def write(options: argparse.Namespace) -> None:
    """The project and its rows, the same for the same options."""
    folder: Path = options.folder
    for name, has_dev in SETS.items():
        for split in ("train", "dev", "test") if has_dev else ("train", "test"):
            rows = [row for row in rows_of(name, split) if row.get("label") != "oos"]
            save(folder / name / f"{split}.jsonl", taken(rows, split, options))
    texts, labels = read()["rotten_tomatoes"]
    reviews = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    save(folder / "reviews" / "train.jsonl", taken(reviews[:-1000], "train", options))
    save(folder / "reviews" / "test.jsonl", taken(reviews[-1000:], "test", options))
    files = {
        name: f"{{train: {name}/train.jsonl, validation: {name}/dev.jsonl, test: {name}/test.jsonl}}"
        for name, has_dev in SETS.items()
        if has_dev
    }
    text = PROJECT.format(
        seed=options.seed,
        source=options.backbone,
        epochs=options.epochs,
        trainable=options.trainable,
        **files,
    )
    (folder / "project.yaml").write_text(text, encoding="utf-8")


def taken(rows: list[dict[str, Any]], split: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A seeded part of the rows: of train the share, of the others so many; every label of train is kept."""
    draw = random.Random(options.seed)
    if split != "train":
        yield from draw.sample(rows, min(options.test, len(rows)))
        return
    by_label: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        by_label.setdefault(row.get("label"), []).append(row)
    for each in by_label.values():
        yield from draw.sample(each, max(min(3, len(each)), round(options.share * len(each))))


def save(place: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write JSON lines."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def table(found: dict[str, Any]) -> str:
    """Scores by model and task, means over the seeds with the least and the largest, and the differences
    with their intervals, as Markdown."""
    tasks: dict[str, Any] = found["tasks"]
    rows = [
        f"{found['counts'][task]['train']['rows_out']:,} / {about['rows']:,}" for task, about in tasks.items()
    ]
    lines = [
        _line("", *tasks),
        "|---" * (1 + len(tasks)) + "|",
        _line("metric", *(about["metric"] for about in tasks.values())),
        _line("rows to learn / test", *rows),
    ]
    for name in next(iter(tasks.values()))["scores"]:
        lines.append(_line(name, *(_cell(about["scores"].get(name)) for about in tasks.values())))
    lines += [_line("published", *(ANCHORS.get(task, "") for task in tasks)), ""]
    lines += [_line("difference", *tasks), "|---" * (1 + len(tasks)) + "|"]
    effects = {
        task: {(each["model"], each["against"]): each for each in about["comparisons"]}
        for task, about in tasks.items()
    }
    for pair in next(iter(effects.values())):
        lines.append(_line(" against ".join(pair), *(_effect(of[pair]) for of in effects.values())))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _effect(effect: dict[str, Any]) -> str:
    """The difference; in bold where it is certain, after Holm's correction over all of them."""
    said = f"{effect['value']:+.3f} [{effect['low']:.3f}, {effect['high']:.3f}]"
    return said if effect["verdict"] == "cannot tell" else f"**{said}**, {effect['verdict']}"


if __name__ == "__main__":
    main()
