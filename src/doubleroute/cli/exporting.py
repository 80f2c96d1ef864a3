"""The command that makes a registered model quick on processors: export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from doubleroute.cli.app import Debug, Folder, Json, Set, app, load
from doubleroute.console import Terminal, progress_of, session


@app.command()
def export(
    project: Folder = Path(),
    precision: Annotated[
        Literal["float32", "int8"] | None,
        typer.Option(
            help="Only this one; by default that of serving.precision, or both. Exit code 3: none accepted."
        ),
    ] = None,
    version: Annotated[
        str, typer.Option("--model-version", metavar="N", help="A number or alias of the registry.")
    ] = "champion",
    source: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Accept on its rows; by default on validation's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Copy what is accepted there.")
    ] = None,
    changes: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a registered model as ONNX graphs, accepted beside the model."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        loaded = load(project, changes)
        from doubleroute.flows.exporting import Exporter
        from doubleroute.integrations.registry import Registry
        from doubleroute.serving.precision import GRAPHS

        registry = Registry(loaded.root, loaded.model_name)
        chosen = registry.version(version)
        configured = loaded.serving.precision
        named = precision or (configured if configured in GRAPHS else None)
        wanted = GRAPHS if named is None else (named,)
        if output is not None:
            _refuse_there([output / each for each in wanted])
        exporter = Exporter(loaded, registry, chosen, source)
        made = [exporter.export(each) for each in wanted]
        terminal.document = {"model": loaded.model_name, "version": chosen.number}
        terminal.document["exports"] = [each.as_dict() for each in made]
        for each in made:
            said = "reused" if each.reused else "new"
            terminal.line(f"{each.precision}: " + (f"accepted, {said}" if each.folder else "refused"))
            _show_figures(terminal, each.figures)
            for reason in each.refused:
                terminal.line(f"  refused: {reason}")
            if each.folder is not None:
                place = each.folder if output is None else _copy(each.folder, output / each.precision)
                terminal.line(f"  {place}")
        if not any(each.folder for each in made):
            which = "the graph" if len(made) == 1 else "every graph"
            command = f"predict --model-version {chosen.number} --precision auto"
            terminal.note(f"error: {which} is refused; `{command}` answers with {exporter.answers}")
            raise typer.Exit(3)


def _show_figures(terminal: Terminal, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """One line a task: both metrics, how many answers are the same, how far logits are apart."""
    for task, each in figures.items():
        model, graph = (
            "undefined" if each[name] is None else f"{each[name]:.4f}" for name in ("model", "graph")
        )
        apart = "not finite" if each["largest_difference"] is None else f"{each['largest_difference']:.2g}"
        terminal.line(
            f"  {task}: {each['metric']} {model}, the graph {graph}; {each['same']:,} of {each['rows']:,} "
            f"answers the same; logits at most {apart} apart"
        )


def _refuse_there(targets: Sequence[Path]) -> None:
    """Raise InputError before the work when a copy would not have its place."""
    from doubleroute.errors import InputError

    for target in targets:
        if target.exists():
            raise InputError(f"--output: {target} is there already; name another folder or remove it")


def _copy(folder: Path, target: Path) -> Path:
    """Copy an export beside its place and rename it."""
    import shutil
    import tempfile

    from doubleroute.errors import MachineError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as beside:
            whole = Path(beside) / target.name
            whole.mkdir()
            for each in sorted(folder.iterdir()):
                if each.name != "manifest.json":
                    shutil.copyfile(each, whole / each.name)
            whole.rename(target)
    except OSError as error:
        raise MachineError(f"cannot write {target}: {error.strerror}") from error
    return target
