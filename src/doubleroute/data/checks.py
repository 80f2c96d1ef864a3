"""What validation asks of canonical rows, as columns of facts that expectations can be put on.

Pure functions over plain columns: one value a row in, one value a row out. A fact that does not hold for
a row is None. Texts are compared as in ``data.splits``: case and white space do not count.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from doubleroute.config import NAMELESS, Validation
from doubleroute.data.raw import listed, near, short
from doubleroute.data.rows import Rows
from doubleroute.data.spans import misplaced
from doubleroute.data.splits import PROTECTED, text_key

TAG = re.compile(r"O|[BI]-\S+")

#: The columns of facts, as the Data Docs show them.
ALSO_IN = "_also_in"
DUPLICATE_OF = "_duplicate_of"
CONFLICTS_WITH = "_conflicts_with"
TOKENS = "_tokens"
TAGS = "_tags"
CHARACTERS = "_characters"
MALFORMED_TAG = "_malformed_tag"
MISPLACED_TAG = "_misplaced_tag"
MISPLACED_ANSWER = "_misplaced_answer"
UNKNOWN_LABEL = "_unknown_label"
ROWS_OF_LABEL = "_rows_of_rarest_label"


def keys(rows: Rows) -> list[str | None]:
    """What copies of a row's text share; None for an empty text, which is nobody's copy."""
    if "tokens" in rows:
        found = [text_key(" ".join(tokens)) for tokens in rows["tokens"]]
    elif "text_pair" in rows:
        found = [text_key(*pair) for pair in zip(rows["text"], rows["text_pair"], strict=True)]
    else:
        found = [text_key(text) for text in rows["text"]]
    return [key if key.strip("\0") else None for key in found]


def split_keys(rows: Rows, kind: str) -> list[str]:
    """What rows share that must land in the same split: their text, of span the context, because questions on
    one context are no strangers to each other."""
    if kind == "span":
        return [text_key(context) for context in rows["text_pair"]]
    return [key or "" for key in keys(rows)]


def places(rows: Rows) -> list[str]:
    """Where each row is, in words."""
    return [f"{file} row {row}" for file, row in zip(rows["file"], rows["row"], strict=True)]


def also_in(
    keys_of: Mapping[str, Sequence[str | None]], places_of: Mapping[str, Sequence[str]]
) -> dict[str, list[str | None]]:
    """Leaks: for each split and row, the same text in a more protected split (test before validation
    before train), as in "test (data/test.csv row 7)". The copy in the less protected split is the leak."""
    seen: dict[str, str] = {}
    found: dict[str, list[str | None]] = {}
    for split in PROTECTED:
        if split not in keys_of:
            continue
        found[split] = [seen.get(key) if key is not None else None for key in keys_of[split]]
        for key, place in zip(keys_of[split], places_of[split], strict=True):
            if key is not None:
                seen.setdefault(key, f"{split} ({place})")
    return found


def duplicate_of(
    keys: Sequence[str | None], labels: Sequence[Any], places: Sequence[str]
) -> list[str | None]:
    """The first row of the same text and label; the first itself is no duplicate."""
    first: dict[Any, str] = {}
    found: list[str | None] = []
    for key, label, place in zip(keys, labels, places, strict=True):
        pair = (key, _comparable(label))
        found.append(None if key is None else first.get(pair))
        first.setdefault(pair, place)
    return found


def conflicts_with(
    keys: Sequence[str | None], labels: Sequence[Any], places: Sequence[str]
) -> list[str | None]:
    """The first row of the same text with another label, and that label. Rows without label have none."""
    by_key: dict[str, dict[Any, str]] = {}
    for key, label, place in zip(keys, labels, places, strict=True):
        if key is not None and label is not None:
            others = by_key.setdefault(key, {})
            others.setdefault(_comparable(label), f"{_in_words(label)} ({place})")
    found: list[str | None] = []
    for key, label in zip(keys, labels, strict=True):
        own = _comparable(label)
        labelled = by_key.get(key, {}) if key is not None and label is not None else {}
        found.append(next((place for other, place in labelled.items() if other != own), None))
    return found


def learned_elsewhere(rows: Mapping[str, Mapping[str, Rows]]) -> list[str]:
    """What is to be said of labelled test rows of a task that another task has labelled copies of in train:
    all tasks learn with one backbone. rows: task -> split -> rows."""
    if len(rows) < 2:
        return []
    learned = {name: {key for key, _ in _labelled(splits["train"])} for name, splits in rows.items()}
    found = []
    for name, splits in rows.items():
        tested = list(_labelled(splits["test"]))
        for other in rows:
            copies = [place for key, place in tested if other != name and key in learned[other]]
            if copies:
                first = copies[0] + (" and more" if len(copies) > 1 else "")
                found.append(
                    f"{name} test: the training rows of {other} hold {len(copies):,} of {len(tested):,} "
                    f"texts too ({first}), and both train one backbone"
                )
    return found


def shared_contexts(name: str, splits: Mapping[str, Rows]) -> list[str]:
    """What is to be said of a span task whose held-out rows ask about contexts of its training rows."""
    learned = {text_key(context) for context in splits["train"]["text_pair"]}
    found = []
    for split in ("validation", "test"):
        rows = splits[split]
        copies = [
            place
            for place, context in zip(places(rows), rows["text_pair"], strict=True)
            if text_key(context) in learned
        ]
        if copies:
            first = copies[0] + (" and more" if len(copies) > 1 else "")
            found.append(
                f"{name} {split}: {len(copies):,} of {len(rows['row']):,} rows ask about a context that "
                f"train holds too ({first}): their scores say little of other contexts"
            )
    return found


def _labelled(rows: Rows) -> Iterator[tuple[str, str]]:
    """Key and place of each row that has a text and a label."""
    for key, place, label in zip(keys(rows), places(rows), rows["label"], strict=True):
        if key is not None and label is not None:
            yield key, place


def malformed_tag(tags: Sequence[Sequence[str] | None]) -> list[str | None]:
    """The first tag of a row that is not O, B-x or I-x."""
    good: set[str] = set()
    return [_first(row, lambda tag: TAG.fullmatch(tag) is not None, good) for row in tags]


def misplaced_tag(tags: Sequence[Sequence[str] | None]) -> list[str | None]:
    """The first I-x of a row that follows neither B-x nor I-x: the older scheme IOB1, or a slip."""
    return [
        next(
            (
                tag
                for before, tag in zip(["O", *row], row, strict=False)
                if tag.startswith("I-") and before not in (tag, f"B-{tag[2:]}")
            ),
            None,
        )
        for row in (each or () for each in tags)
    ]


def unknown_label(labels: Sequence[Any], known: Collection[str]) -> list[str | None]:
    """The first label or tag of a row that is not one of ``known``."""
    good = set(known)
    return [_first([row] if isinstance(row, str) else row, good.__contains__, good) for row in labels]


def unknown_reason(
    label: str, known: Sequence[str], noun: str, *, hinted: bool = True, split_off: str | None = None
) -> str:
    """Why a label is wrong, where it is ``hinted`` with the one that was probably meant. ``split_off``: the
    split of its row, where that was drawn from the rows that the labels are taken from."""
    hint = near(label, known) if hinted else ""
    if split_off is None:
        return f"{noun} '{short(label)}' is not one of {listed(known)}{hint.replace(';', ',', 1)}"
    gone = f"{noun} '{short(label)}' is in no row that is left for train once {split_off} is split off"
    return f"{gone}: give more rows of it or list it under labels{hint.replace(';', ', or', 1)}"


def classes(label: Any, kind: str) -> Collection[str]:
    """The labels that one row has; of tagging the types of its entities, of regression and span none."""
    if label is None or kind in NAMELESS:
        return ()
    if kind == "tagging":
        return {tag[2:] for tag in label if tag != "O" and TAG.fullmatch(tag)}
    return (label,) if isinstance(label, str) else set(label)


def label_counts(labels: Sequence[Any], kind: str) -> dict[str, int]:
    """Rows of each label, sorted by name: classification and multilabel rows that have it, tagging rows
    that hold an entity of the type. Empty for regression and span."""
    counts: Counter[str] = Counter()
    for label in labels:
        counts.update(classes(label, kind))
    return dict(sorted(counts.items()))


def rows_of_rarest(labels: Sequence[Any], kind: str) -> list[int | None]:
    """For each row, how many rows have the rarest of its labels; None for a row without."""
    counts = label_counts(labels, kind)
    return [min((counts[name] for name in classes(label, kind)), default=None) for label in labels]


def characters(rows: Rows) -> list[int]:
    """Length of each row's tokens joined by spaces."""
    return [sum(map(len, tokens)) + len(tokens) - 1 for tokens in rows["tokens"]]


def facts(rows_of: Mapping[str, Rows], kind: str) -> dict[str, Rows]:
    """The columns of facts that need no list of labels, for each split of a task."""
    keys_of = {split: keys(rows) for split, rows in rows_of.items()}
    places_of = {split: places(rows) for split, rows in rows_of.items()}
    leaks = also_in(keys_of, places_of)
    found: dict[str, Rows] = {}
    for split, rows in rows_of.items():
        labels = rows["label"]
        where = (keys_of[split], labels, places_of[split])
        found[split] = {
            ALSO_IN: leaks[split],
            DUPLICATE_OF: duplicate_of(*where),
            CONFLICTS_WITH: conflicts_with(*where),
        }
        if kind == "tagging":
            found[split][TOKENS] = [len(tokens) for tokens in rows["tokens"]]
            found[split][TAGS] = [None if tags is None else len(tags) for tags in labels]
            found[split][CHARACTERS] = characters(rows)
            found[split][MALFORMED_TAG] = malformed_tag(labels)
            found[split][MISPLACED_TAG] = misplaced_tag(labels)
        if kind == "span":
            pairs = zip(rows["text_pair"], labels, strict=True)
            found[split][MISPLACED_ANSWER] = [misplaced(context, label) for context, label in pairs]
    return found


def label_facts(rows: Rows, kind: str, known: Sequence[str]) -> Rows:
    """The columns of facts about the labels of one split. ``known`` are the labels of the task."""
    if kind in NAMELESS:
        return {}
    labels = rows["label"]
    return {UNKNOWN_LABEL: unknown_label(labels, known), ROWS_OF_LABEL: rows_of_rarest(labels, kind)}


def sound(rows: Rows, found: Rows, rules: Validation) -> list[int]:
    """The rows that nothing but an unknown label or a user's expectation can still send to quarantine:
    those that labels are taken from."""
    fatal = [MALFORMED_TAG] if MALFORMED_TAG in found else []
    fatal += [ALSO_IN] if rules.leaks == "quarantine" else []
    fatal += [CONFLICTS_WITH] if rules.conflicts == "quarantine" else []
    texts = [rows[name] for name in ("text", "text_pair") if name in rows]
    sizes = (
        [found[CHARACTERS]]
        if CHARACTERS in found
        else [[len(text.strip()) and len(text) for text in each] for each in texts]
    )
    return [
        index
        for index in range(len(rows["row"]))
        if all(found[fact][index] is None for fact in fatal)
        and all(0 < size[index] <= rules.max_characters for size in sizes)
        and (TAGS not in found or found[TAGS][index] in (None, found[TOKENS][index]))
    ]


def task_labels(labels: Sequence[Any], kind: str, given: Sequence[str] | None) -> list[str]:
    """The labels of a task, in order: as given, else those of the training rows, sorted. Tagging: O first;
    a type that occurs gets its B- and its I- tag, so that every I-x has its B-x. Regression and span:
    none."""
    if kind in NAMELESS:
        return []
    if kind != "tagging":
        return list(given) if given else sorted({name for label in labels for name in classes(label, kind)})
    tags = given or sorted({tag for row in labels if row for tag in row if TAG.fullmatch(tag)})
    if not given:
        types = {tag[2:] for tag in tags if tag != "O"}
        tags = sorted(f"{side}-{name}" for side in "BI" for name in types)
    missing = [f"B-{tag[2:]}" for tag in tags if tag.startswith("I-") and f"B-{tag[2:]}" not in tags]
    return ["O", *(tag for tag in tags if tag != "O"), *missing]


def _first(row: Sequence[str] | None, fits: Callable[[str], bool], good: set[str]) -> str | None:
    for label in row or ():
        if label not in good:
            if not fits(label):
                return label
            good.add(label)
    return None


def _comparable(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label


def _in_words(label: Any) -> str:
    return short(" ".join(label)) if isinstance(label, list) else f"'{short(label)}'"
