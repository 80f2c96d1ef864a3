"""Great Expectations: the suites of a project, run on its rows, and their Data Docs.

The only module that imports Great Expectations. The context lives in memory: nothing is written but the
Data Docs, into the folder that is given; telemetry and progress bars are off.
"""

import difflib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.data.raw import listed, near, shown
from doubleroute.errors import InputError
from doubleroute.integrations.conditions import refused
from doubleroute.integrations.suites import Check, Severity

if TYPE_CHECKING:
    import pandas as pd

_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set")
#: The expectations that compute with values or order them, which texts do not bear.
_OF_NUMBERS = {
    f"expect_{each}"
    for each in (
        *(f"column_{what}_to_be_between" for what in ("max", "mean", "median", "min", "stdev", "sum")),
        "column_quantile_values_to_be_between",
        "column_value_z_scores_to_be_less_than",
        *(f"column_values_to_be_{what}" for what in ("between", "decreasing", "increasing")),
        "column_pair_values_a_to_be_greater_than_b",
        "multicolumn_sum_to_equal",
    )
}
#: Those that take numbers as well as texts; a blank cell is null to them where others need numbers.
_OF_EITHER = {"expect_column_to_exist", "expect_column_values_to_not_be_null"}
_ENTRY_KEYS = {
    "type",
    "kwargs",
    "meta",
    "id",
    "notes",
    "description",
    "severity",
    "rendered_content",
    "expectation_context",
}


@dataclass(frozen=True)
class Batch:
    """What one suite runs on: the rows of a task and split, and the checks."""

    task: str
    split: str
    frame: "pd.DataFrame"
    checks: Sequence[Check]


@dataclass(frozen=True)
class Result:
    """How one check went. rows: positions of the failing rows, ascending; empty when the check is about
    the whole table. could_not_check: why there is no answer, as when a column is missing."""

    task: str
    split: str
    check: Check
    success: bool
    unexpected_count: int
    rows: tuple[int, ...]
    could_not_check: str | None
    observed: Any

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for summary.json."""
        return {
            "task": self.task,
            "split": self.split,
            "expectation": self.check.type,
            "column": self.check.value_column,
            "severity": self.check.severity,
            "origin": self.check.origin,
            "success": self.success,
            "unexpected_count": self.unexpected_count,
            "could_not_check": self.could_not_check,
        }


def user_files(root: Path) -> dict[str, Path]:
    """The users' suites: file stem -> ``expectations/<task>.json``."""
    return {path.stem: path for path in sorted((root / "expectations").glob("*.json"))}


def user_entries(path: Path) -> list[dict[str, Any]]:
    """The expectations of a suite file in Great Expectations' JSON form, checked without importing it.

    Raises InputError that names the file and the expectation.
    """
    name = shown(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
        ) from None
    entries = document.get("expectations") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InputError(f'{name}: must be {{"expectations": [{{"type": ..., "kwargs": {{...}}}}]}}')
    for number, entry in enumerate(entries, start=1):
        _check_entry(entry, f"{name}: expectation {number}")
    return entries


def _check_entry(entry: Any, where: str) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        old = (
            '; write "type", not "expectation_type"'
            if isinstance(entry, dict) and "expectation_type" in entry
            else ""
        )
        raise InputError(f'{where}: must be an object with "type" and "kwargs"{old}')
    for key in entry:
        if key not in _ENTRY_KEYS:
            raise InputError(f"{where}: key '{key}' is not known{near(key, _ENTRY_KEYS)}")
    if not isinstance(entry.get("kwargs", {}), dict) or not isinstance(entry.get("meta") or {}, dict):
        raise InputError(f'{where}: "kwargs" and "meta" must be objects')
    wrong = refused(entry.get("kwargs", {}).get("row_condition", "text == text"))
    if wrong is not None:
        raise InputError(f"{where}: kwargs.row_condition {wrong}")
    meta = entry.get("meta") or {}
    if meta.get("severity") not in (None, "error", "warning"):
        raise InputError(f"{where}: meta.severity must be error or warning, not {meta['severity']!r}")
    if meta.get("split") not in (None, "train", "validation", "test"):
        raise InputError(f"{where}: meta.split must be train, validation or test, not {meta['split']!r}")


def columns_of(entries: Sequence[Mapping[str, Any]]) -> set[str]:
    """The columns that these expectations are about."""
    found: set[str] = set()
    for entry in entries:
        for argument in _COLUMN_ARGUMENTS:
            value = entry.get("kwargs", {}).get(argument)
            found.update([value] if isinstance(value, str) else value if isinstance(value, list) else [])
    return found


def extra_columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """The columns that these expectations are about, and whether texts in them may be given as numbers: only
    where one needs numbers, and no other one sees the values as they are written."""
    numbers = columns_of([entry for entry in entries if _needs_numbers(entry)])
    numbers -= columns_of([e for e in entries if not (_needs_numbers(e) or _takes_either(e))])
    return {column: column in numbers for column in sorted(columns_of(entries), key=str)}


def _takes_either(entry: Mapping[str, Any]) -> bool:
    return entry["type"] in _OF_EITHER or entry["type"].startswith(
        "expect_table_"
    )  # which names columns alone


def _needs_numbers(entry: Mapping[str, Any]) -> bool:
    """Whether it computes with values, or compares them with numbers; not where a bound is a text."""
    kwargs = entry.get("kwargs", {})
    if entry["type"] in _OF_NUMBERS:
        return not any(isinstance(kwargs.get(bound), str) for bound in ("min_value", "max_value"))
    values = kwargs.get("value_set")
    return bool(values) and isinstance(values, list) and all(type(each) in (int, float) for each in values)


def user_checks(path: Path, entries: Sequence[Mapping[str, Any]], split: str) -> list[Check]:
    """A user's expectations for one split: all without ``meta.split``, and those that name it."""
    found = []
    for number, entry in enumerate(entries, start=1):
        meta = dict(entry.get("meta") or {})
        if meta.get("split") not in (None, split):
            continue
        kwargs = dict(entry.get("kwargs", {}))
        mild = (meta.get("severity") or entry.get("severity")) in ("warning", "info")
        severity: Severity = "warning" if mild else "error"
        columns = sorted(columns_of([entry]))
        wanted = {key: value for key, value in kwargs.items() if key not in _COLUMN_ARGUMENTS}
        words = f"{entry['type']}{f' with {json.dumps(wanted, ensure_ascii=False)}' if wanted else ''}"
        origin = f"expectations/{path.name}: expectation {number}"
        said = f"{words} does not hold ({origin})"
        found.append(
            Check(
                entry["type"],
                kwargs,
                ", ".join(columns),
                lambda _, said=said: said,  # type: ignore[misc]
                entry.get("description"),
                severity,
                origin,
                meta,
            )
        )
    return found


def run(batches: Sequence[Batch], docs: Path) -> list[Result]:
    """Run every batch's suite and write the Data Docs into the folder ``docs``.

    Each suite runs once with summaries, which the docs show; the checks that fail run again for the
    complete list of failing rows. Raises InputError for an expectation that Great Expectations does not
    know or whose arguments it does not take.
    """
    gx = _great_expectations()
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        analytics_enabled=False,
        progress_bars={"globally": False},
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    results = [result for batch in batches for result in _run_batch(gx, context, batch)]
    site = {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("local", site)
    context.build_data_docs(site_names=["local"])
    return results


def _great_expectations() -> Any:
    """Import it. It imports a module of Python that is deprecated, which is no concern of our callers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations
    return great_expectations


def _run_batch(gx: Any, context: Any, batch: Batch) -> list[Result]:
    name = f"{batch.task}-{batch.split}"
    suite = context.suites.add_or_update(gx.ExpectationSuite(name=name))
    expectations = [_expectation(check, index) for index, check in enumerate(batch.checks)]
    suite.expectations = expectations
    source = context.data_sources.add_or_update_pandas(name)
    asset = source.add_dataframe_asset(name)
    definition = asset.add_batch_definition_whole_dataframe("rows")
    validation = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=name, data=definition, suite=suite)
    )
    parameters = {"dataframe": batch.frame}
    outcome = validation.run(batch_parameters=parameters, result_format="SUMMARY")
    data = None if outcome.success else definition.get_batch(batch_parameters=parameters)
    by_check = {int(result.expectation_config.meta["check"]): result for result in outcome.results}
    return [_result(batch, data, expectations[index], by_check[index]) for index in range(len(batch.checks))]


def _expectation(check: Check, index: int) -> Any:
    """The GX object of a check."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        return ExpectationConfiguration(
            type=check.type,
            kwargs=dict(check.kwargs),
            meta={**check.meta, "check": index},
            description=check.description,
            severity="warning" if check.severity != "error" else "critical",
        ).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise InputError(f"{check.origin or check.type}: {_why_refused(check, error)}") from None


def _why_refused(check: Check, error: Exception) -> str:
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    if isinstance(error, ExpectationNotFoundError):
        known = list_registered_expectation_implementations()
        close = difflib.get_close_matches(check.type, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        return f"Great Expectations knows no '{check.type}'{hint}"
    details = getattr(error, "errors", None)
    if callable(details):
        said = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in details()]
        return f"{check.type} does not take these arguments: {listed(said)}"
    return f"{check.type} does not take these arguments: {error}"


def _result(batch: Batch, data: Any, expectation: Any, first: Any) -> Result:
    """One check's result, with all failing rows when it failed."""
    why = _exception(first)
    result = first.to_json_dict().get("result") or {}
    rows: tuple[int, ...] = ()
    if not first.success and why is None and result.get("unexpected_count"):
        complete = data.validate(expectation, result_format={"result_format": "COMPLETE"}).to_json_dict()
        rows = tuple(sorted({int(row) for row in complete["result"].get("unexpected_index_list") or ()}))
    check = batch.checks[int(first.expectation_config.meta["check"])]
    count = len(rows) or int(result.get("unexpected_count") or 0)
    observed = result.get("observed_value")
    return Result(batch.task, batch.split, check, bool(first.success), count, rows, why, observed)


def _exception(result: Any) -> str | None:
    """What was raised inside the expectation; GX nests it by metric or not."""
    info = result.exception_info or {}
    nested = [each for each in info.values() if isinstance(each, Mapping)] or [info]
    for each in nested:
        if each.get("raised_exception"):
            return str(each.get("exception_message") or "it raised an exception").strip().splitlines()[-1]
    return None
