"""The finding ``contradicted``: changed rows whose label a model does not believe."""

from collections import Counter
from collections.abc import Mapping, Sequence

from doubleroute.config import Review
from doubleroute.review.contradicted import Contradiction
from doubleroute.review.findings import Finding, counted, digests, quoted, severity_of, where
from doubleroute.review.versions import Versions


def doubts(
    versions: Versions, found: Sequence[Contradiction], champion: Mapping[int, str], review: Review
) -> list[Finding]:
    """The finding for rows that ``contradicted`` gives, the surest first.

    ``champion``: what the champion answers to such rows of head, in words, where it was asked: to rows that
    it has not learned.
    """
    if not found:
        return []
    head, rows = versions.head, [each.row for each in found]
    relabelled = sum(each.had is not None for each in found)
    said = [f"{counted(relabelled, 'relabelled row')}"] if relabelled else []
    said += [f"{counted(len(found) - relabelled, 'new or edited row')}"] if len(found) > relabelled else []
    return [
        Finding(
            "contradicted",
            severity_of("contradicted", review),
            versions.task,
            None,
            len(found),
            f"{' and '.join(said)} whose label a model contradicts that did not learn from them",
            f"look at the labels in {where(head.files[row] for row in rows)}; right ones may be acknowledged",
            examples=[
                quoted(head, each.row, note=_note(each, champion)) for each in found[: review.examples]
            ],
            numbers=dict(Counter(head.splits[row] for row in rows)),
            rows=digests(versions.task, head, rows),
        )
    ]


def _note(each: Contradiction, champion: Mapping[int, str]) -> str:
    sure = "" if each.probability is None else f" ({each.probability:.2f})"
    at = "" if each.word is None else f" at word {each.word + 1}"
    had = "" if each.had is None else f"; it was {_words(each.had)}"
    known = f"; the champion: {champion[each.row]}" if each.row in champion else ""
    return f"the model prefers {_words(each.prefers)}{sure}{at}{had}{known}"


def _words(label: object) -> str:
    return " ".join(map(str, label)) if isinstance(label, list | tuple) else str(label)
