"""All findings of a review but those that need models: ``contradicted`` and ``worse``."""

from collections.abc import Callable, Mapping, Sequence

from doubleroute.config import Review
from doubleroute.review.arrived import personal_data
from doubleroute.review.copies import conflicts, duplicates, near_duplicates
from doubleroute.review.findings import Finding
from doubleroute.review.held_out import held_out
from doubleroute.review.labels import label_findings
from doubleroute.review.leaks import leaks, leaks_across_tasks, near_leaks
from doubleroute.review.versions import Versions


def row_findings(
    tasks: Sequence[Versions],
    finders: Mapping[str, Callable[[str], bool]],
    min_rows: int,
    review: Review,
) -> list[Finding]:
    """What is wrong with the rows of all tasks, each finding as its function says; in no order, and with
    texts as they are (``findings.in_order``, ``findings.publishable``).

    ``finders``: of personal data, see ``personal_data``; ``min_rows``: validation.min_rows_per_class.
    """
    found = [*leaks_across_tasks(tasks, review)]
    for versions in tasks:
        found += leaks(versions, review)
        found += near_leaks(versions, review)
        found += duplicates(versions, review)
        found += near_duplicates(versions, review)
        found += conflicts(versions, review)
        found += label_findings(versions, min_rows, review)
        found += held_out(versions, review)
        found += personal_data(versions, finders, review)
    return found
