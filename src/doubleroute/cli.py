"""The command line: words into calls. Imports of what does the work stand inside the commands, so that
--help answers at once."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from doubleroute.console import Commands, Terminal, open_closed_streams, progress_of, session
from doubleroute.environment import set_defaults

if TYPE_CHECKING:
    from doubleroute.config import Project
    from doubleroute.modeling.inference import Answerer
    from doubleroute.serving.requests import Request


app = typer.Typer(
    name="doubleroute",
    cls=Commands,
    help="Routed multi-task fine-tuning of one pretrained transformer, and the pipeline that keeps it good.",
    epilog="Exit codes: 0 done, 2 bad input, 3 refused by a gate, 4 the machine or a store, 130 stopped.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Option("--project", metavar="DIR", help="The folder of project.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; all else on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of project.yaml; repeatable."),
]

WAITING = "another run of this project is under way; waiting for it to end"


@app.command()
def init(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Data files to look at.")],
    project: Annotated[
        Path, typer.Option("--project", "--dir", metavar="DIR", help="Where project.yaml is written.")
    ] = Path(),
    name: Annotated[str | None, typer.Option(help="Of the project; the folder's name by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a project.yaml that is there.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at data files and write a commented project.yaml."""
    with session(as_json=as_json, debug=debug) as terminal:
        from doubleroute.data.starter import look, write

        starter = look(files, project, name)
        path = write(starter, project, force)
        terminal.line(f"wrote {path}")
        for line in starter.mapping:
            terminal.line(f"  {line}")
        for doubt in starter.doubts:
            terminal.line(f"look at this: {doubt}")
        terminal.line(f"next: read and edit {path}, then")
        terminal.line(f"  doubleroute validate{_for(project)}")
        terminal.line(f"  doubleroute train{_for(project)}")
        terminal.document = {"project": str(path), **starter.as_dict()}


@app.command()
def validate(
    project: Folder = Path(), changes: Set = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Check project.yaml and every row of the data."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        loaded = load(project, changes)
        from doubleroute.integrations.validation import read_summary, summary_lines
        from doubleroute.integrations.validation import validate as validate_data
        from doubleroute.integrations.versions import pull
        from doubleroute.workspace import Workspace

        version = pull(loaded.root, loaded.all_paths)
        stage = validate_data(loaded, Workspace(loaded.root))
        summary = read_summary(stage)
        for line in summary_lines(summary):
            terminal.line(line)
        for warning in summary["warnings"]:
            terminal.line(f"warning: {warning}")
        terminal.line(f"data docs: {stage.path / 'data_docs' / 'index.html'}")
        terminal.document = {
            "stage": str(stage.path),
            "reused": stage.reused,
            "data_version": version.as_dict(),
            "summary": summary,
        }


@app.command()
def train(project: Folder = Path(), changes: Set = None, as_json: Json = False, debug: Debug = False) -> None:
    """Validate, tokenise, fine-tune, evaluate, register, promote."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        loaded = load(project, changes)
        from doubleroute.flows.train import run
        from doubleroute.integrations.registry import Registry

        result = run(loaded, changes or (), waiting=lambda: terminal.note(WAITING))
        terminal.document = result
        show_stages(terminal, result)
        show_scores(terminal, result)
        decision = result["decision"]
        terminal.line(f"version {result['version']} of {loaded.model_name}: {decision['verdict']}")
        for reason in decision["reasons"]:
            terminal.line(f"  {reason}")
        terminal.line("next:")
        example = "--text 'Some text of yours'"
        terminal.line(f"  doubleroute predict{_for(project)} {example}")
        terminal.line(f"  doubleroute status{_for(project)}")
        uri = Registry(loaded.root, loaded.model_name).tracking_uri
        terminal.line(f"  mlflow ui --backend-store-uri {uri}")
        if decision["verdict"] == "refuse":
            terminal.note("error: the promotion gate refused the new version; the champion stays")
            raise typer.Exit(3)


@app.command()
def evaluate(
    project: Folder = Path(), changes: Set = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Score the champion on the current test files; write a report."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        loaded = load(project, changes)
        from doubleroute.flows.evaluate import evaluate_champion

        result = evaluate_champion(loaded)
        terminal.document = result
        show_scores(terminal, result)


@app.command()
def predict(
    project: Folder = Path(),
    source: Annotated[
        str | None, typer.Option("--input", metavar="FILE", help="Texts: .jsonl .csv .tsv .txt; - is stdin.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Answer this one text.")] = None,
    output: Annotated[str, typer.Option("--output", metavar="FILE", help="Where to; - is stdout.")] = "-",
    form: Annotated[
        Literal["jsonl", "csv"] | None,
        typer.Option("--format", help="Of the answers; by default the ending's, or jsonl."),
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", metavar="NAME", help="Answer this task only; repeatable.")
    ] = None,
    version: Annotated[
        str, typer.Option("--model-version", metavar="N", help="A number or alias of the registry.")
    ] = "champion",
    text_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The column or key of the text; by default as in the tasks."),
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The same for the second text of a pair.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer texts with a registered model, all tasks in one pass."""
    with session(as_json=as_json, debug=debug, pure=output == "-") as terminal:
        loaded = load(project)
        from doubleroute.errors import InputError
        from doubleroute.integrations.registry import Registry
        from doubleroute.serving import predictor

        if (source is None) == (text is None):
            raise InputError("give either --input FILE (- is standard input) or --text 'one text'")
        if source == "" or output == "":
            raise InputError(
                f"--{'input' if source == '' else 'output'} is empty; name a file, or - for a stream"
            )
        requests = _requests(loaded, source, text, text_column, pair_column)
        if output != "-":
            predictor.place(Path(output))
        registry = Registry(loaded.root, loaded.model_name)
        chosen = registry.version(version)
        from doubleroute.modeling.inference import Answerer

        answerer = Answerer(registry.model_folder(chosen))
        answers = predictor.predict(answerer, requests, tasks)
        terminal.document = {"model": loaded.model_name, "version": chosen.number}
        if output != "-":
            count = predictor.write(answers, _about(answerer, tasks), Path(output), form)
            terminal.document |= {"answers": count, "output": output}
            terminal.line(f"{count} answers in {output}")
        elif as_json:
            given = [
                {"row": each.request.row, "id": each.request.id, "answers": each.tasks} for each in answers
            ]
            terminal.document["answers"] = given
        elif text is not None and form is None:
            for answer in answers:
                show_answers(terminal, answer.tasks)
        else:
            predictor.write(answers, _about(answerer, tasks), terminal.out, form)


@app.command()
def status(project: Folder = Path(), as_json: Json = False, debug: Debug = False) -> None:
    """Show the champion, the data version and the last stages."""
    with session(as_json=as_json, debug=debug) as terminal:
        loaded = load(project)
        from doubleroute.integrations.status import describe, lines

        terminal.document = describe(loaded)
        for line in lines(terminal.document):
            terminal.line(line)


@app.command()
def doctor(project: Folder = Path(), as_json: Json = False, debug: Debug = False) -> None:
    """Find what is wrong with machine, project or stores."""
    with session(as_json=as_json, debug=debug) as terminal:
        from dataclasses import asdict

        from doubleroute.integrations.doctor import examine

        checks = []
        for check in examine(project):
            checks.append(check)
            terminal.line(f"{check.state:<5} {check.name:<10} {check.found}")
            if check.advice:
                terminal.line(f"{'':<16} -> {check.advice}")
        failed = [check.name for check in checks if check.state == "fail"]
        terminal.document = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        if failed:
            raise typer.Exit(4)


def load(folder: Path, changes: list[str] | None = None) -> "Project":
    """The project; before anything heavy is imported, so that a mistake in it is told at once."""
    from doubleroute.config import load_project

    return load_project(folder, changes or ())


def _requests(
    project: "Project", source: str | None, text: str | None, column: str | None, pair: str | None
) -> "Iterator[Request]":
    """The requests of --text or --input; columns are named as the project's tasks name them."""
    from doubleroute.serving.requests import one_request, read_requests

    if text is not None:
        return iter([one_request(text)])
    names = {task.columns.text for task in project.tasks.values() if task.kind != "tagging"}
    pairs = {task.columns.text_pair for task in project.tasks.values()} - {None}
    column = column or (names.pop() if len(names) == 1 else "text")
    pair = pair or (pairs.pop() if len(pairs) == 1 else "text_pair")
    tokens = {task.columns.tokens for task in project.tasks.values() if task.kind == "tagging"}
    stream = sys.stdin.buffer if source == "-" else Path(source or "")
    words = tokens.pop() if len(tokens) == 1 else None
    return read_requests(stream, None, column, pair or "text_pair", words)


def _about(answerer: "Answerer", tasks: list[str] | None) -> dict[str, dict[str, Any]]:
    return {task: about for task, about in answerer.tasks.items() if not tasks or task in tasks}


def show_answers(terminal: Terminal, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """The answers to one text for people: a line a task, the likeliest labels first."""
    for task, answer in answers.items():
        if "value" in answer:
            said = f"{answer['value']:.3f}"
        elif "probabilities" in answer:
            chances = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
            said = ", ".join(f"{label} {chance:.2f}" for label, chance in chances[:3])
        else:
            said = ", ".join(f"{each['text']} ({each['type']})" for each in answer["entities"]) or "nothing"
        print(f"{task}: {said}", file=terminal.out)


def show_stages(terminal: Terminal, result: dict[str, Any]) -> None:
    """One line a stage: reused, or how long it took."""
    for stage in result["stages"]:
        took = "reused" if stage["reused"] else f"{stage['seconds']:.1f} s"
        terminal.line(f"{stage['name']:<12} {took}")
    terminal.line(f"{'all':<12} {result['seconds']:.1f} s")


def show_scores(terminal: Terminal, result: dict[str, Any]) -> None:
    """Rows in and out, the score table, a verdict for each task, and where the report lies."""
    from doubleroute.integrations.validation import summary_lines
    from doubleroute.reports.tables import cut_texts, score_rows

    terminal.line()
    for line in summary_lines({"tasks": result["counts"]}) + cut_texts(result["evaluation"]):
        terminal.line(line)
    header, rows = score_rows(result["evaluation"])
    terminal.line()
    terminal.table(header, rows, words=3)
    terminal.line()
    for verdict in result["verdicts"]:
        terminal.line(verdict)
    terminal.line(f"report: {result['report']}")


def _for(project: Path) -> str:
    """The --project option to type for this folder."""
    return "" if project == Path() else f" --project {project}"


def main() -> None:
    """The entry point of the installed command."""
    open_closed_streams()
    set_defaults()
    app()
