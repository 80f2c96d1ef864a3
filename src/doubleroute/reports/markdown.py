"""The sections of a report as Markdown: tables, long parts folded, other people's texts in code blocks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from doubleroute.reports.tables import Table
from doubleroute.reports.wording import fenced, markdown


def markdown_report(
    title: str, verdicts: Sequence[str], sections: Iterable[Any], page: str = "report.html"
) -> str:
    """The whole report. ``sections`` are those of ``reports.evaluation``; the figures' words stand in
    for the figures, which are in the HTML report, the file ``page``."""
    lines = [f"# {markdown(title)}", "", *(f"- {markdown(verdict)}" for verdict in verdicts)]
    for section in sections:
        lines += ["", f"## {markdown(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block, page)]
    return "\n".join(lines) + "\n"


def markdown_table(table: Table) -> str:
    """One table with escaped cells: words on the left, numbers on the right."""
    header = [markdown(cell) for cell in table.header]
    rule = ["---" if place < table.words else "---:" for place in range(len(header))]
    rows = [[*map(markdown, row[: table.words]), *row[table.words :]] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def _block(block: Any, page: str) -> Iterator[str]:
    if block.kind == "note":
        yield markdown(block.text)
    elif block.kind == "figure":
        yield f"- {markdown(block.title)} (figure in {page}). {markdown(block.description)}"
    elif block.kind == "source":
        yield from _folded(block.title, fenced(block.text))
    elif block.kind == "mistakes":
        parts = [fenced(_mistake(item)) for item in block.items]
        yield from _folded(f"{block.title} ({len(parts)})", "\n\n".join(parts))
    elif block.kind == "items":
        parts = [
            fenced("\n".join([item.text, *(f"{n}: {v}" for n, v in item.facts)])) for item in block.items
        ]
        parts = [markdown(block.note), *parts] if block.note else parts
        yield from _folded(f"{block.title} ({len(block.items)})", "\n\n".join(parts))
    elif block.kind == "ways":
        parts = [
            fenced(" ".join(f"{token.text}({token.expert})" for token in item.tokens) + f"\n{item.place}")
            for item in block.items
        ]
        yield from _folded(block.title, "\n\n".join([markdown(block.note), *parts]))
    else:
        note = ["", markdown(block.note)] if block.note else []
        text = "\n".join([markdown_table(block), *note])
        if block.folded:
            yield from _folded(block.title, text)
        else:
            yield f"### {markdown(block.title)}\n\n{text}"


def _mistake(item: Any) -> str:
    return "\n".join(
        [
            item.text,
            f"truth: {item.truth}",
            f"answer: {item.answer}",
            f"confidence: {item.confidence}",
            f"where: {item.place}",
        ]
    )


def _folded(title: str, text: str) -> Iterator[str]:
    yield f"<details><summary>{markdown(title)}</summary>"
    yield ""
    yield text
    yield ""
    yield "</details>"
