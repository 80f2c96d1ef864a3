"""What is to be said of the texts that came with a change: personal data in them, and drift."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from doubleroute.config import Review
from doubleroute.review.findings import Finding, counted, digests, quoted, severity_of, where
from doubleroute.review.rows import VersionRows
from doubleroute.review.versions import Versions

_CAME = {"added", "duplicated", "edited"}


def personal_data(
    versions: Versions, finders: Mapping[str, Callable[[str], bool]], review: Review
) -> list[Finding]:
    """The finding ``personal-data``: rows that came or were edited and hold what a finder finds.

    ``finders``: name -> whether a text holds such a thing. What an edited row held before is not counted.
    The examples hold the texts as they are: ``findings.publishable`` blots them out.
    """
    kinds: Counter[str] = Counter()
    found: list[tuple[int, list[str]]] = []
    for row, happened in enumerate(versions.kinds):
        if not _CAME.isdisjoint(happened):
            here = _holds(versions.head, row, finders)
            before = int(versions.before[row])
            old = _holds(versions.base, before, finders) if here and before >= 0 else []
            new = [name for name in here if name not in old]
            if new:
                kinds.update(new)
                found.append((row, new))
    if not found:
        return []
    head, rows = versions.head, [row for row, _ in found]
    said = ", ".join(f"{name} in {count:,}" for name, count in sorted(kinds.items()))
    return [
        Finding(
            "personal-data",
            severity_of("personal-data", review),
            versions.task,
            None,
            len(found),
            f"{counted(len(found), 'new or edited row')} with what looks like personal data: {said}",
            f"replace it in {where(head.files[row] for row in rows)}, as by [mail]; what was pushed stays in "
            "the DVC remote until `dvc gc` takes it out",
            examples=[quoted(head, row, note=", ".join(names)) for row, names in found[: review.examples]],
            numbers=dict(sorted(kinds.items())),
            rows=digests(versions.task, head, rows),
        )
    ]


def drift_findings(drift: Mapping[str, Any], task: str | None, review: Review) -> list[Finding]:
    """The finding ``drift``: the rows that came differ from the old ones.

    ``drift``: a document of ``drift.detectors.measure``, the old rows as reference; ``task``: the one whose
    rows they are, None for several. The count is of the rows that came; none unless the verdict is moved.
    """
    if drift["verdict"] != "moved":
        return []
    moved = [test for test in drift["tests"] if test["verdict"] == "moved"]
    keys = ("scope", "what", "p_adjusted", "effect")
    lines = [
        f"{test['scope']} by {test['what']}: "
        f"corrected p {test['p_adjusted']:.2g}, effect {test['effect']:.2f}"
        for test in moved
    ]
    came = int(drift["rows"]["current"])
    by = ", ".join(f"{test['scope']} by {test['what']}" for test in moved[:3])
    more = f" and {counted(len(moved) - 3, 'test')} more" if len(moved) > 3 else ""
    return [
        Finding(
            "drift",
            severity_of("drift", review),
            task,
            None,
            came,
            f"{counted(came, 'new row')} differ from the old ones: {by}{more}",
            "see whether they come from where the model will be used; if so, put such rows into test too",
            "\n".join(lines),
            numbers={
                "moved": list(drift["moved"]),
                "tests": [{key: test[key] for key in keys} for test in moved],
            },
        )
    ]


def _holds(side: VersionRows, row: int, finders: Mapping[str, Callable[[str], bool]]) -> list[str]:
    texts = [text for text in (side.texts[row], side.pairs[row]) if text is not None]
    return [name for name, holds in finders.items() if any(holds(text) for text in texts)]
