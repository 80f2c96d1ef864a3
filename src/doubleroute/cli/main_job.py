"""The commands of the main job: init, validate, train, evaluate, predict, status, doctor."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from doubleroute.cli.app import Debug, Folder, Json, Set, app, load, option_for
from doubleroute.cli.shows import (
    end_if_refused,
    show_answers,
    show_decision,
    show_scores,
    show_stages,
    show_way,
)
from doubleroute.console import progress_of, session

if TYPE_CHECKING:
    from doubleroute.config import Project
    from doubleroute.integrations.registry import Registry, Version
    from doubleroute.modeling.answering import Answering
    from doubleroute.serving.log import RequestLog
    from doubleroute.serving.precision import Precision
    from doubleroute.serving.requests import InputFormat, Request


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
        terminal.line(f"  doubleroute validate{option_for(project)}")
        terminal.line(f"  doubleroute train{option_for(project)}")
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

        result = run(loaded, changes or ())
        terminal.document = result
        show_stages(terminal, result)
        show_scores(terminal, result)
        decision = result["decision"]
        show_decision(terminal, f"version {result['version']} of {loaded.model_name}", decision)
        terminal.line("next:")
        example = "--text 'Some text of yours'"
        terminal.line(f"  doubleroute predict{option_for(project)} {example}")
        terminal.line(f"  doubleroute status{option_for(project)}")
        terminal.line(f"  {Registry(loaded.root, loaded.model_name).page}")
        end_if_refused(terminal, decision)


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
    source_form: Annotated[
        Literal["jsonl", "csv", "tsv", "text"] | None,
        typer.Option("--input-format", help="Of --input; by default the ending's; of stdin jsonl or text."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Answer this one text.")] = None,
    second: Annotated[
        str | None,
        typer.Option("--text-pair", help="The second text of --text: of a question the context."),
    ] = None,
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
    precision: Annotated[
        Literal["auto", "float32", "int8", "torch"] | None,
        typer.Option(help="What answers; by default as serving.precision says."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the processor; by default serving.threads.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say which experts and layers each token went through."),
    ] = False,
    log: Annotated[
        bool | None,
        typer.Option("--log/--no-log", help="Keep texts and answers; by default as serving.log says."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer texts with a registered model, all tasks in one pass."""
    with session(as_json=as_json, debug=debug, pure=output == "-") as terminal:
        loaded = load(project)
        from doubleroute.integrations.registry import Registry
        from doubleroute.serving import predictor
        from doubleroute.serving.requests import form_of, one_request

        _refuse_contradictions(source, source_form, text, second, output, explain, form)
        one = None if text is None else one_request(text, second)
        if one is None and source != "-":
            form_of(Path(source or ""), source_form)  # told before a model is loaded
        if output != "-":
            predictor.place(Path(output))
        registry = Registry(loaded.root, loaded.model_name)
        chosen = registry.version(version)
        if explain and precision is None:
            precision = "torch"
        answerer = _answerer(loaded, registry, chosen, precision, threads)
        named = tasks or list(answerer.tasks)
        requests = _requests(loaded, source, source_form, one, text_column, pair_column, named)
        kept = _log(loaded, chosen) if log or (log is None and loaded.serving.log) else None
        answers = predictor.predict(answerer, requests, tasks, log=kept, explained=explain)
        terminal.document = {
            "model": loaded.model_name,
            "version": chosen.number,
            "precision": answerer.precision,
        }
        if output != "-":
            count = predictor.write(answers, _about(answerer, tasks), Path(output), form)
            terminal.document |= {"answers": count, "output": output}
            # Behind answers in /dev/stdout it would be one of them.
            tell = terminal.note if predictor.is_stream(Path(output)) else terminal.line
            tell(f"{count} answers in {output}")
        elif as_json:
            terminal.document["answers"] = [{"id": None, **each.as_dict()} for each in answers]
        elif text is not None and form is None:
            for answer in answers:
                show_answers(terminal, answer.tasks)
                if answer.explanation is not None:
                    show_way(terminal, answer.explanation)
        else:
            predictor.write(answers, _about(answerer, tasks), terminal.out, form)


def _refuse_contradictions(
    source: str | None,
    source_form: str | None,
    text: str | None,
    second: str | None,
    output: str,
    explain: bool,
    form: str | None,
) -> None:
    from doubleroute.errors import InputError

    if (source is None) == (text is None):
        raise InputError("give either --input FILE (- is standard input) or --text 'one text'")
    if source_form is not None and source is None:
        raise InputError("--input-format is of --input; give both, or --text alone")
    if second is not None and text is None:
        raise InputError("--text-pair is the second text of --text; give both, or --input alone")
    if source == "" or output == "":
        empty = "input" if source == "" else "output"
        raise InputError(f"--{empty} is empty; name a file, or - for a stream")
    if explain and (form == "csv" or (form is None and output.lower().endswith(".csv"))):
        raise InputError("CSV has no place for --explain; write --format jsonl")


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


def _requests(
    project: "Project",
    source: str | None,
    form: "InputFormat | None",
    one: "Request | None",
    column: str | None,
    pair: str | None,
    asked: list[str],
) -> "Iterator[Request]":
    """The requests of --text or --input; columns are named as the tasks that are asked name them."""
    from doubleroute.serving.requests import read_requests

    if one is not None:
        return iter([one])
    tasks = [task for name, task in project.tasks.items() if name in asked]
    names = {task.columns.text for task in tasks if task.kind != "tagging"}
    pairs = {task.columns.text_pair for task in tasks} - {None}
    column = column or (names.pop() if len(names) == 1 else "text")
    paired = bool(pair or pairs)
    pair = pair or (pairs.pop() if len(pairs) == 1 else "text_pair")
    tokens = {task.columns.tokens for task in tasks if task.kind == "tagging"}
    stream = sys.stdin.buffer if source == "-" else Path(source or "")
    words = tokens.pop() if len(tokens) == 1 else None
    return read_requests(stream, form, column, pair or "text_pair", words, paired)


def _log(project: "Project", version: "Version") -> "RequestLog":
    """The project's log of what is asked, for the answers of this version."""
    from doubleroute.serving.log import RequestLog

    serving, model = project.serving, {"version": version.number, "digest": version.digest}
    folder = project.root / serving.folder
    return RequestLog(folder, serving.max_mb, serving.files, serving.redact, model, home=project.root)


def _answerer(
    project: "Project",
    registry: "Registry",
    version: "Version",
    precision: "Precision | None",
    threads: int | None,
) -> "Answering":
    """What answers for this version: an exported graph that is accepted, or the model itself."""
    from doubleroute.serving.precision import choose, open_answerer
    from doubleroute.workspace import Workspace

    serving = project.serving
    model = registry.model_folder(version)
    wanted = precision or serving.precision
    graph = choose(Workspace(project.root), version.digest, wanted, serving.margin, version.number)
    return open_answerer(model, graph, threads or serving.threads)


def _about(answerer: "Answering", tasks: list[str] | None) -> dict[str, dict[str, Any]]:
    return {task: about for task, about in answerer.tasks.items() if not tasks or task in tasks}
