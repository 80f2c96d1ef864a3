"""The expectations that a project implies, as plain data: what Great Expectations is asked, and what is
said about a row that fails. Nothing here imports Great Expectations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from doubleroute.config import NAMELESS, Task, Validation
from doubleroute.data import checks
from doubleroute.data.raw import listed, short

#: error: failing rows are quarantined, a failing table stops the run. warning: both are only reported.
#: note: shown in the Data Docs; validation words its own warning.
Severity = Literal["error", "warning", "note"]
#: What a failing row goes against, in a word; value: all that is wrong with a row by itself.
Rule = Literal["value", "label", "leak", "conflict", "duplicate"]

#: Pairs of a wrong label and a right one that are compared at most, for the one that was meant: some seconds.
_COMPARED = 100_000


@dataclass(frozen=True)
class Check:
    """One expectation: its GX type and arguments, the column that a failure is put down to, and what is
    said about a failing row (a mapping of the columns of the frame)."""

    type: str
    kwargs: Mapping[str, Any]
    column: str
    explain: Callable[[Mapping[str, Any]], str]
    description: str | None = None
    severity: Severity = "error"
    #: Where a user wrote it, as in "expectations/sentiment.json: expectation 2"; None: from the project.
    origin: str | None = None
    #: What a user wrote as "meta".
    meta: Mapping[str, Any] = field(default_factory=dict)
    rule: Rule = "value"

    @property
    def value_column(self) -> str:
        """The column of which a failing value is shown."""
        return str(self.kwargs.get("column", self.column))


def project_checks(
    task: Task, rules: Validation, labels: Sequence[str], split: str, unlabelled: bool
) -> list[Check]:
    """The suite of one task and split, in the order in which a bad row's reason is chosen."""
    found = [_at_least_one_row()]
    found += _tokens(task, rules) if task.kind == "tagging" else _texts(task, rules)
    found += _labels(task, rules, labels, split, unlabelled)
    found += _copies(task, rules)
    return found


def _at_least_one_row() -> Check:
    return Check("expect_table_row_count_to_be_between", {"min_value": 1}, "", lambda _: "", severity="note")


def _present(column: str, type_: str, nullable: bool = False) -> list[Check]:
    found = [
        Check("expect_column_to_exist", {"column": column}, column, lambda _: "is missing"),
        Check(
            "expect_column_values_to_be_of_type",
            {"column": column, "type_": type_},
            column,
            lambda _: f"is not of type {type_}",
        ),
    ]
    if not nullable:
        kwargs = {"column": column}
        found.append(Check("expect_column_values_to_not_be_null", kwargs, column, lambda _: "is null"))
    return found


def _texts(task: Task, rules: Validation) -> list[Check]:
    found: list[Check] = []
    for column in filter(None, (task.columns.text, task.columns.text_pair)):
        found += _present(column, "str")
        found.append(
            Check(
                "expect_column_values_to_match_regex",
                {"column": column, "regex": r"\S"},
                column,
                lambda _: "the text is empty or white space alone",
                "texts hold more than white space",
            )
        )
        found.append(_length({"column": column, "max_value": rules.max_characters}, column, column, rules))
    return found


def _length(kwargs: Mapping[str, Any], column: str, measured: str, rules: Validation) -> Check:
    def explain(row: Mapping[str, Any]) -> str:
        value = row[measured]
        size = len(value) if isinstance(value, str) else value
        most = f"validation.max_characters allows {rules.max_characters:,}"
        return f"the text has {size:,} characters; {most}"

    on_text = measured == column
    type_ = "expect_column_value_lengths_to_be_between" if on_text else "expect_column_values_to_be_between"
    return Check(type_, kwargs, column, explain, f"texts have at most {rules.max_characters:,} characters")


def _tokens(task: Task, rules: Validation) -> list[Check]:
    tokens, tags = task.columns.tokens, task.columns.tags
    return [
        *_present(tokens, "list"),
        Check(
            "expect_column_values_to_be_between",
            {"column": checks.TOKENS, "min_value": 1},
            tokens,
            lambda _: "holds no token",
            "rows hold at least one token",
        ),
        _length(
            {"column": checks.CHARACTERS, "max_value": rules.max_characters}, tokens, checks.CHARACTERS, rules
        ),
        Check(
            "expect_column_pair_values_to_be_equal",
            {
                "column_A": checks.TOKENS,
                "column_B": checks.TAGS,
                "ignore_row_if": "either_value_is_missing",
            },
            tags,
            lambda row: (
                f"{row[checks.TOKENS]} tokens but {row[checks.TAGS]:.0f} tags; each token needs one tag"
            ),
            "there are as many tags as tokens",
        ),
        Check(
            "expect_column_values_to_be_null",
            {"column": checks.MALFORMED_TAG},
            tags,
            lambda row: f"tag '{short(row[checks.MALFORMED_TAG])}' is not O, B-type or I-type",
            "tags are O, B-type or I-type",
        ),
        Check(
            "expect_column_values_to_be_null",
            {"column": checks.MISPLACED_TAG},
            tags,
            lambda row: _misplaced(str(row[checks.MISPLACED_TAG])),
            "an I-type follows the B-type or I-type of its entity",
            "warning",
        ),
    ]


def _misplaced(tag: str) -> str:
    return f"tag '{short(tag)}' begins an entity and is read as '{short('B-' + tag[2:])}'"


def _labels(
    task: Task, rules: Validation, labels: Sequence[str], split: str, unlabelled: bool
) -> list[Check]:
    tagging = task.kind == "tagging"
    column = task.columns.tags if tagging else task.columns.label
    type_ = {"classification": "str", "regression": "float"}.get(task.labelled_as, "list")
    found = _present(column, type_, nullable=unlabelled)
    if task.kind == "span":
        found.append(_answers_in_place(column))
    if task.kind in NAMELESS:
        return found
    noun = "tag" if tagging else "label"
    stored = task.kind == "retrieval"  # its labels are all answers, many and some without a row
    of_train = not task.labels and not stored
    split_off = split if of_train and not getattr(task.files, split) else None

    @cache  # many rows may have one wrong label
    def reason(label: str) -> str:
        compared = reason.cache_info().misses * len(labels)
        hinted = compared <= _COMPARED
        return checks.unknown_reason(label, labels, noun, hinted=hinted, split_off=split_off)

    def explain(row: Mapping[str, Any]) -> str:
        return reason(row[checks.UNKNOWN_LABEL])

    listed_all = task.labelled_as == "classification" and not stored
    if listed_all:
        kwargs: dict[str, Any] = {"column": column, "value_set": list(labels)}
        found.append(Check("expect_column_values_to_be_in_set", kwargs, column, explain, rule="label"))
    else:
        kwargs = {"column": checks.UNKNOWN_LABEL}
        said = f"every {noun} is one of {listed(labels)}"
        found.append(Check("expect_column_values_to_be_null", kwargs, column, explain, said, rule="label"))
    if split == "train" and not stored:
        kwargs = {"column": checks.ROWS_OF_LABEL, "min_value": rules.min_rows_per_class}
        said = f"every label has at least {rules.min_rows_per_class} rows"
        found.append(Check("expect_column_values_to_be_between", kwargs, column, lambda _: "", said, "note"))
        if listed_all:
            kwargs = {"column": column, "value_set": list(labels)}
            type_ = "expect_column_distinct_values_to_contain_set"
            found.append(Check(type_, kwargs, column, lambda _: "", severity="note"))
    return found


def _answers_in_place(column: str) -> Check:
    return Check(
        "expect_column_values_to_be_null",
        {"column": checks.MISPLACED_ANSWER},
        column,
        lambda row: str(row[checks.MISPLACED_ANSWER]),
        "answers stand in the context where they are said to start",
    )


#: Rules about a row by itself; and about copies, which hang on what other rows there are: those of one split,
#: and those across splits.
ALONE: frozenset[Rule] = frozenset({"value", "label"})
WITHIN_SPLITS: frozenset[Rule] = frozenset({"conflict", "duplicate"})
ACROSS_SPLITS: frozenset[Rule] = frozenset({"leak"})


def _copies(task: Task, rules: Validation) -> list[Check]:
    column = task.columns.tokens if task.kind == "tagging" else task.columns.text

    def check(rule: Rule, fact: str, treatment: str, description: str, words: str) -> Check:
        severity: Severity = "error" if treatment == "quarantine" else "warning"
        return Check(
            "expect_column_values_to_be_null",
            {"column": fact},
            column,
            lambda row: f"{words} {row[fact]}",
            description,
            severity,
            rule=rule,
        )

    return [
        check(
            "leak",
            checks.ALSO_IN,
            rules.leaks,
            "no text is in a more protected split too",
            "the same text is in",
        ),
        check(
            "conflict",
            checks.CONFLICTS_WITH,
            rules.conflicts,
            "the same text always has the same label",
            "the same text has another label:",
        ),
        check(
            "duplicate",
            checks.DUPLICATE_OF,
            rules.duplicates,
            "no text stands twice with the same label",
            "the same text and label are in",
        ),
    ]
