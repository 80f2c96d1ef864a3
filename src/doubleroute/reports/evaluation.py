"""The report of an evaluation: one self-contained HTML file and the same in Markdown.

Both are made of the same sections. Every text that comes from data goes through ``wording.shown`` and is
escaped by the medium, so that a hostile row is only a row. The same inputs give the same bytes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from doubleroute.reports import details, figures, ladder, router, tables
from doubleroute.reports.details import Mistake, Source
from doubleroute.reports.markdown import markdown_report
from doubleroute.reports.svg import Figure
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import anchor, is_number, shown
from doubleroute.workspace import write_text


@dataclass(frozen=True)
class Note:
    """A sentence."""

    text: str
    kind: str = "note"


@dataclass(frozen=True)
class Mistakes:
    """The worst errors of a task."""

    title: str
    items: list[Mistake]
    kind: str = "mistakes"


@dataclass(frozen=True)
class Item:
    """Somebody's text, and short facts about it: (name, value)."""

    text: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Items:
    """Texts, each with its facts."""

    title: str
    items: list[Item]
    note: str = ""
    kind: str = "items"


Block = Table | Figure | Note | Source | Mistakes | Items | router.Ways


@dataclass(frozen=True)
class Section:
    """A heading with its anchor and what stands under it."""

    title: str
    anchor: str
    blocks: list[Block]


def write_report(
    folder: Path,
    evaluation: dict[str, Any],
    histories: dict[str, dict[str, Any]],
    provenance: dict[str, Any],
    counts: dict[str, Any],
    kept_out: Mapping[str, int] | None = None,
) -> None:
    """Write ``report.html`` and ``report.md`` into ``folder``.

    ``evaluation`` is what ``evaluation.json`` holds; ``histories`` {model: ``history.json``};
    ``provenance`` what the run was made of, printed as given; ``counts`` {task: {split: {rows_in,
    rows_out, quarantined, unlabelled}}} of the validation; ``kept_out`` {task: how many of these rows were
    test rows of a champion}, which nothing was trained or chosen on. Undefined numbers are null or NaN.
    Raises MachineError when the files cannot be written.
    """
    project = shown(provenance.get("project") or "doubleroute", 70)
    title = f"{project}: evaluation on the {shown(evaluation['split'], 20)} split"
    verdicts = tables.verdicts(evaluation)
    sections = sections_of(evaluation, histories, provenance, counts, kept_out)
    write_text(folder / "report.html", page(title, verdicts, sections))
    write_text(folder / "report.md", markdown_report(title, verdicts, sections))


def sections_of(
    evaluation: Mapping[str, Any],
    histories: Mapping[str, Any],
    provenance: Mapping[str, Any],
    counts: Mapping[str, Any],
    kept_out: Mapping[str, int] | None = None,
) -> list[Section]:
    """The sections in the order of reading; those that have nothing to show are left out."""
    fair = tables.fairness(evaluation)

    def of_tasks(blocks: Callable[[str, Mapping[str, Any]], Iterator[Block]]) -> list[Block]:
        return [block for name, task in evaluation["tasks"].items() for block in blocks(name, task)]

    scores = of_tasks(lambda name, task: _scores(evaluation, name, task))
    went_in: list[Block] = [details.counts_table(counts)]
    for task, left_out in (kept_out or {}).items():
        was = f"{left_out:,} of these rows were test rows of a champion and stay out of training"
        went_in.append(Note(f"{shown(task, 70)}: {was}."))
    went_in += [details.tokens_table(evaluation["tokens"]), details.models_table(evaluation, histories)]
    sections: dict[str, list[Block]] = {
        "Scores": [*scores, Note(fair)] if fair else scores,
        "Slices": of_tasks(lambda name, _: iter(tables.slices_tables(evaluation, name))),
        "Confusion": of_tasks(_confusions),
        "Reliability": of_tasks(_reliability),
        "Learning curves": _curves(evaluation, histories),
        "Stages of training": list(ladder.ladder_blocks(evaluation, histories)),
        "Router": _router(evaluation),
        "Labels": of_tasks(lambda name, task: iter(details.label_tables(task, name))),
        "Regression": of_tasks(_regression),
        "Worst errors": of_tasks(_mistakes),
        "What went in": [*went_in, *details.provenance_blocks(provenance)],
    }
    return [Section(title, anchor(title), blocks) for title, blocks in sections.items() if blocks]


def _scores(evaluation: Mapping[str, Any], name: str, task: Mapping[str, Any]) -> Iterator[Block]:
    yield tables.scores_table(evaluation, name)
    differences = tables.differences_table(task, name)
    if differences:
        yield differences


def _confusions(name: str, task: Mapping[str, Any]) -> Iterator[Block]:
    model = tables.headline(task["models"])
    confusion = _details(task, model).get("confusion")
    if not confusion:
        return
    title = f"{shown(name, 70)}: confusion of {shown(model, 40)}"
    unit = "words" if task["kind"] == "tagging" else "rows"
    if len(task["labels"]) > details.MOST_CELLS:
        yield details.confused_pairs(task["labels"], confusion, title, unit)
    else:
        yield figures.confusion_figure(task["labels"], confusion, title, unit)


def _reliability(name: str, task: Mapping[str, Any]) -> Iterator[Block]:
    # The majority class answers every row with one confidence, and the champion is as a rule close to
    # the new model: both would hide what is compared.
    models = [model for model in ("plain", "routed") if model in task["models"]]
    models = models or [tables.headline(task["models"])]
    found = {model: _details(task, model).get("reliability") for model in models}
    bins = {model: value for model, value in found.items() if value and value.get("bins")}
    if bins:
        share = "share that has the label" if task["kind"] == "multilabel" else "share that is right"
        yield figures.reliability_figure(bins, f"{shown(name, 70)}: reliability", share)


def _curves(evaluation: Mapping[str, Any], histories: Mapping[str, Any]) -> list[Block]:
    loss = {
        model: points
        for model, history in histories.items()
        if (points := _points(history.get("steps"), lambda step: step.get("loss")))
    }
    blocks: list[Block] = []
    if loss:
        blocks.append(figures.curve_figure(loss, "training loss", "Training loss"))
    for name, task in evaluation["tasks"].items():
        metric = task["metric"]

        def of_epoch(epoch: Mapping[str, Any], name: str = name, metric: str = metric) -> Any:
            return ((epoch.get("validation") or {}).get(name) or {}).get(metric)

        scores = {m: p for m, h in histories.items() if (p := _points(h.get("epochs"), of_epoch))}
        if scores:
            title = f"{shown(name, 70)}: {shown(metric, 40)} on validation"
            blocks.append(figures.curve_figure(scores, shown(metric, 40), title))
    return blocks


def _points(entries: Any, value: Callable[[Mapping[str, Any]], Any]) -> list[tuple[Any, Any]]:
    """(step, value) of each entry that has a finite value."""
    points = [(entry.get("step"), value(entry)) for entry in entries or ()]
    return [(step, found) for step, found in points if is_number(step) and is_number(found)]


def _router(evaluation: Mapping[str, Any]) -> list[Block]:
    said = router.statement(evaluation)
    blocks: list[Block] = [*router.replaced_tables(evaluation), *router.gate_tables(evaluation)]
    blocks += [*router.layer_tables(evaluation), *router.ways_of(evaluation)]
    return [Note(said), *blocks] if said else blocks


def _regression(name: str, task: Mapping[str, Any]) -> Iterator[Block]:
    model = tables.headline(task["models"])
    found = _details(task, model)
    if found.get("points"):
        yield figures.scatter_figure(found["points"], f"{shown(name, 70)}: answers of {shown(model, 40)}")
    residuals = found.get("residuals") or {}
    if residuals.get("counts"):
        title = f"{shown(name, 70)}: residuals of {shown(model, 40)}"
        yield figures.residuals_figure(residuals["edges"], residuals["counts"], title)


def _mistakes(name: str, task: Mapping[str, Any]) -> Iterator[Block]:
    items = details.mistakes(task)
    if items:
        yield Mistakes(f"{shown(name, 70)}: worst errors of {tables.headline(task['models'])}", items)


def _details(task: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = task["models"].get(model, {}).get("details") or {}
    return found


def page(
    title: str,
    verdicts: list[str],
    sections: list[Section],
    template: str = "evaluation.html.jinja",
    **more: Any,
) -> str:
    """One self-contained HTML page: heading, verdicts ("name: what is said"), sections.

    ``template``: another one of this folder, which extends it and shows ``more``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["groups"] = _groups
    values = {"title": title, "verdicts": verdicts, "sections": sections}
    return environment.get_template(template).render(**values, **more)


def _groups(blocks: list[Block]) -> list[list[Block]]:
    """Neighbouring blocks of one kind together: figures stand side by side."""
    return [list(group) for _, group in groupby(blocks, key=lambda block: block.kind)]
