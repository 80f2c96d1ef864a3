"""Review documents as a review makes them, small and realistic, for the tests of the review's reports."""

import copy
from typing import Any

from evaluations import HOSTILE

KINDS = ("added", "removed", "duplicated", "edited", "relabelled", "moved")
#: Where a browser would run it, it would leave a mark: window.hacked.
ATTACK = (
    "</script><script>window.hacked=1</script><!-- <script> \"><img src=x onerror='window.hacked=1'> "
    f"]]> \u2028 {HOSTILE} @someone #123 !45 a@example.invalid :white_check_mark: | a | b |"
)


def row(text: str, label: Any, number: int = 12, split: str = "train", **other: Any) -> dict[str, Any]:
    place = {"split": split, "file": f"data/intent/{split}.jsonl", "row": number}
    return {**place, "text": text, "pair": None, "label": label, "key": None, **other}


def change(task: str, kinds: list[str], base: Any, head: Any, near: float | None = None) -> dict[str, Any]:
    return {"task": task, "kinds": kinds, "similarity": near, "base": base, "head": head}


def changed_rows() -> list[dict[str, Any]]:
    """120 rows of the two tasks, every kind of change among them."""
    moved = row("my card has not arrived yet", "card_arrival", 7, "validation")
    tokens = "Emma Thompson reads in London tonight"
    tags = ["B-person", "I-person", "O", "O", "B-place", "O"]
    rows = [
        change(
            "intent",
            ["edited"],
            row("How do I change my PIN at the cash machine?", "change_pin", 3),
            row("How can I change my PIN at a cash machine?", "change_pin", 3),
            0.93,
        ),
        change(
            "intent", ["relabelled"], row("I lost my card", "lost_card"), row("I lost my card", "top_up"), 1
        ),
        change("intent", ["moved"], row("my card has not arrived yet", "card_arrival", 9), moved, 1.0),
        change("intent", ["removed"], row("please delete this row", "top_up", 44), None),
        change("intent", ["duplicated"], None, row("why is my balance wrong", "balance", 1044)),
        change(
            "entities",
            ["relabelled"],
            row(tokens, ["O"] * 6, 5),
            row(tokens, tags, 5, file="data/tags.conll"),
            1,
        ),
        change(
            "intent",
            ["edited", "relabelled", "moved"],
            row("Is there a fee for a transfer abroad?", "fees", 17),
            row("Is there any fee for transfers abroad?", "transfer", 18, "test"),
            0.9,
        ),
    ]
    labels = ("balance", "top_up", "card_arrival")
    return rows + [
        change("intent", ["added"], None, row(f"new question {n} about my account", labels[n % 3], 2000 + n))
        for n in range(113)
    ]


def finding(name: str, severity: str, title: str, examples: list[Any], **other: Any) -> dict[str, Any]:
    found = {"name": name, "severity": severity, "task": "intent", "split": "train", "count": 40}
    found |= {"title": title, "detail": "", "fix": "remove these rows from data/intent/train.jsonl"}
    return {**found, "examples": examples, "numbers": {}, "rows": [], "acknowledged": None, **other}


def example(text: str, label: Any, other: Any = None, note: str = "") -> dict[str, Any]:
    place = {"file": "data/intent/train.jsonl", "row": 1042, "split": "train"}
    return {**place, "text": text, "label": label, "other": other, "note": note}


def all_findings() -> list[dict[str, Any]]:
    tested = {"file": "data/intent/test.jsonl", "row": 5, "split": "test", "label": "top_up"}
    leaks = [
        example(
            f"how do I top up my account {n}?",
            "top_up",
            {**tested, "text": f"how do I top up my account {n}?"},
        )
        for n in range(5)
    ]
    near = {**tested, "text": "Where can I top up my account by card today?"}
    contradicted = example("I lost my card", "top_up", None, "the champion says lost_card 0.98")
    excuse = {"reason": "numbers of a made-up bank", "until": "2027-01-31", "by": 0}
    return [
        finding("leak", "block", "40 test rows stand in train", leaks, detail="Scores would be too good."),
        finding("near-leak", "look", "25 train rows are nearly test rows", [
            example("Where can I top up my account with a card today?", "top_up", near, "similarity 0.93")
        ], count=25),
        finding(
            "contradicted", "look", "30 labels are contradicted by the champion", [contradicted], count=30
        ),
        finding("drift", "note", "the added rows are longer than the old ones", [], count=200, split=None),
        finding("personal-data", "look", "1 row holds a card number", [
            example("my card 4111 1111 1111 1111 is lost", "lost_card")
        ], count=1, acknowledged=excuse),
    ]  # fmt: skip


def score(value: float, width: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def impact(verdict: str = "worse", value: float = -0.031, metric: str = "accuracy") -> dict[str, Any]:
    change = {**score(value, 0.012), "verdict": verdict}
    labels = [
        {"label": name, "rows": 40, "value": gain, "low": gain - 0.05, "high": gain + 0.05, "verdict": said}
        for name, gain, said in (
            ("lost_card", -0.21, "worse"),
            ("top_up", -0.04, "cannot tell"),
            ("balance", 0.1, "better"),
        )
    ]
    loss = {"base": 0.412, "head": 0.498, "difference": {**score(-0.086, 0.02), "verdict": verdict}}
    return {
        "metric": metric,
        "higher_is_better": metric != "mae",
        "rows": 3040,
        "seeds": 5,
        "base": score(0.912),
        "head": score(0.912 + value),
        "difference": change,
        "loss": loss,
        "verdict": verdict,
        "why": "",
        "labels": labels,
        "learned": {"base": 10_003, "head": 10_203},
        "method": "a linear head on cached activations",
    }


def task(kind: str, labels: list[str], rows: dict[str, list[int]], **counts: int) -> dict[str, Any]:
    nothing = {**dict.fromkeys(KINDS, 0), "unchanged": 0}
    told = {split: nothing | {"unchanged": before} for split, (before, _) in rows.items()}
    told["train"] |= counts
    edges = [0, 25, 50, 100, 200, 400]
    lengths = {"edges": edges, "base": [100, 400, 300, 80, 5], "head": [90, 390, 320, 150, 45]}
    return {
        "kind": kind,
        "metric": {"classification": "accuracy", "tagging": "entity_f1", "regression": "mae"}[kind],
        "higher_is_better": kind != "regression",
        "labels": {"base": labels, "head": [*labels, "top_up_by_card"]},
        "rows": {split: {"base": before, "head": after} for split, (before, after) in rows.items()},
        "counts": told,
        "renamed": {},
        "label_counts": {"train": {label: [300 + 9 * n, 320 - 9 * n] for n, label in enumerate(labels)}},
        "lengths": {"train": lengths},
    }


def review(**other: Any) -> dict[str, Any]:
    """A review with something of everything in it."""
    rows = changed_rows()
    names = ["balance", "card_arrival", "change_pin", "fees", "lost_card", "top_up", "transfer"]
    intent = task(
        "classification",
        names,
        {"train": [10_003, 10_203], "validation": [1000, 1001], "test": [3080, 3080]},
        **dict(zip(KINDS, (205, 5, 1, 30, 31, 1), strict=True)),
    )
    entities = task(
        "tagging", ["B-person", "B-place"], {"train": [1000, 1000], "test": [230, 230]}, relabelled=1
    )
    document = {
        "format": 1,
        "project": "bank",
        "model": "minilm",
        "time": "2026-11-25T12:00:00",
        "base": {
            "name": "main",
            "commit": "0f3c2d9a7b6e5f4d3c2b1a09f8e7d6c5b4a39281",
            "dvc_md5": "5e0c3b9d.dir",
        },
        "head": {"name": "more-questions", "commit": None, "dvc_md5": "7a1f4c2e.dir"},
        "seconds": {"read": 1.24, "changes": 0.81, "findings": 3.3, "impact": 41.0},
        "verdict": {
            "verdict": "block",
            "reasons": ["leak: 40 test rows stand in train", "intent: accuracy gets worse by 0.031"],
            "exit_code": 3,
        },
        "files": [
            {"path": "data/intent/train.jsonl", "what": "changed", "rows_base": 10_003, "rows_head": 10_203},
            {"path": "data/tags.conll", "what": "added", "rows_base": None, "rows_head": 1000},
            {"path": "data/intent/test.jsonl", "what": "same", "rows_base": 3080, "rows_head": 3080},
        ],
        "tasks": {"intent": intent | {"renamed": {"lost": "lost_card"}}, "entities": entities},
        "changes": {"total": len(rows), "shown": len(rows), "file": "changes.jsonl", "rows": rows},
        "findings": all_findings(),
        "impact": {
            "intent": impact(),
            "entities": {"verdict": "cannot tell", "why": "only 12 held-out rows have a tag"},
        },
        "blame": {
            "intent": [
                {"by": "label", "group": "lost_card", "rows": 30, **score(0.071, 0.02), "verdict": "harms"},
                {
                    "by": "file",
                    "group": "data/b.jsonl",
                    "rows": 200,
                    **score(-0.01, 0.02),
                    "verdict": "cannot tell",
                },
            ]
        },
        "full": None,
    }
    return document | other


def nothing_changed() -> dict[str, Any]:
    """The review of a change that changes nothing."""
    document = review(findings=[], impact={}, blame={}, files=[])
    for entry in document["tasks"].values():
        for split, rows in entry["rows"].items():
            rows["head"] = rows["base"]
            entry["counts"][split] = {**dict.fromkeys(KINDS, 0), "unchanged": rows["base"]}
        entry["renamed"] = {}
        entry["label_counts"]["train"] = {label: [9, 9] for label in entry["labels"]["base"]}
        entry["lengths"]["train"]["head"] = entry["lengths"]["train"]["base"]
    document["changes"] |= {"total": 0, "shown": 0, "rows": []}
    document["verdict"] = {"verdict": "approve", "reasons": [], "exit_code": 0}
    return document


def hostile() -> dict[str, Any]:
    """The review with every text that comes from data replaced by one that attacks."""
    document = copy.deepcopy(review())
    document["project"] = document["model"] = ATTACK
    document["base"] |= {"name": ATTACK}
    document["verdict"]["reasons"].append(ATTACK)
    document["files"].append({"path": ATTACK, "what": "added", "rows_base": None, "rows_head": 1})
    entry = document["tasks"]["intent"]
    entry["renamed"] = {ATTACK: "</script>"}
    entry["label_counts"]["train"] = {f"label {n}": [n, n + 1] for n in range(198)} | {
        "</script>": [1, 900],
        "long" * 500: [1, 800],
        ATTACK: [0, 700],
    }
    rows = document["changes"]["rows"]
    rows[0]["head"] |= {"text": ATTACK, "label": "</script>", "file": ATTACK, "pair": ATTACK, "key": ATTACK}
    rows[1]["base"]["text"] = "x" * 2**20
    rows[1]["head"]["text"] = "word " * 200_000
    rows[2]["head"]["label"] = "long" * 500
    for number in range(300):
        rows.append(change("intent", ["added"], None, row(f"of {number}", f"label {number:03}", number)))
    document["changes"] |= {"total": 1_000_000, "shown": len(rows)}
    found = document["findings"]
    found[0] |= dict.fromkeys(("title", "detail", "fix"), ATTACK)
    found[0]["examples"][0] |= {"text": ATTACK, "label": ATTACK, "file": ATTACK, "note": ATTACK}
    found[0]["examples"][1]["text"] = "x" * 2**20
    found[-1]["acknowledged"]["reason"] = ATTACK
    document["impact"]["intent"]["labels"][0]["label"] = ATTACK
    document["impact"]["entities"]["why"] = ATTACK
    document["blame"]["intent"][0]["group"] = ATTACK
    return document
