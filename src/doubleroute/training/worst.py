"""The rows that a model answered worst, for the report."""

from typing import Any

from doubleroute.data.tags import legal
from doubleroute.data.tokens import join_tokens
from doubleroute.kinds import kind as kind_of
from doubleroute.training.scoring import Truths

#: Rows of the worst errors that the report shows.
WORST = 20


def worst_errors(kind: str, truths: Truths, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst rows of the model that this is about, worst first."""
    ranked = []
    for row, (truth, answer) in enumerate(zip(truths.values, answers, strict=True)):
        badness, given, confidence = _badness(kind, truth, answer, truths.labels)
        if badness > 0:
            ranked.append((-badness, row, given, confidence))
    frame = truths.frame
    found = []
    for _, row, given, confidence in sorted(ranked, key=lambda item: item[:2])[:WORST]:
        text = join_tokens(frame["tokens"][row]) if "tokens" in frame else frame["text"][row]
        if "text_pair" in frame:
            text = f"{text} | {frame['text_pair'][row]}"
        about = {"file": frame["file"][row], "row": int(frame["row"][row]), "text": text}
        found.append({**about, "truth": truths.values[row], "answer": given, "confidence": confidence})
    return found


def _badness(
    kind: str, truth: Any, answer: dict[str, Any], labels: list[str]
) -> tuple[float, Any, float | None]:
    """How wrong an answer is (0 = right), what it said, and how sure it was."""
    if kind == "regression":
        return abs(truth - answer["value"]), answer["value"], None
    if kind == "tagging":
        wrong = sum(first != second for first, second in zip(legal(truth), answer["tags"], strict=True))
        return float(wrong), answer["tags"], None
    if kind == "span":
        missed = 1 - kind_of(kind).scorer([answer], [truth], []).score()["answer_f1"]
        return missed, answer["answer"], answer["confidence"]
    if kind == "retrieval":
        rank = next((each["rank"] for each in answer["answers"] if each["id"] == truth), WORST)
        return float(rank - 1), answer["label"], answer["score"]
    shares = answer["probabilities"]
    if kind == "multilabel":
        wrong_by = sum(abs((label in truth) - share) for label, share in shares.items())
        return (wrong_by if set(truth) != set(answer["labels"]) else 0.0), answer["labels"], None
    sure = shares[answer["label"]]
    if kind == "ordinal":  # an older model may lack the truth among its labels
        return kind_of(kind).scorer([answer], [truth], labels).score()["mae"], answer["label"], sure
    return (sure if answer["label"] != truth else 0.0), answer["label"], sure
