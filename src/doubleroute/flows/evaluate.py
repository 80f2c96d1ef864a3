"""The champion on the project's test files as they are now. No Prefect: people wait for the answer."""

from typing import Any

from doubleroute.config import Project
from doubleroute.errors import InputError
from doubleroute.flows.candidate import champion_of, report
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.validation import read_summary, validate
from doubleroute.integrations.versions import pull
from doubleroute.reports.tables import verdicts
from doubleroute.training.encode import encode
from doubleroute.training.evaluate import evaluate, read_evaluation
from doubleroute.workspace import Workspace


def evaluate_champion(project: Project) -> dict[str, Any]:
    """Validate, tokenise, score the champion, beside the majority baseline where the
    project has it, and write a report.

    Raises InputError when nothing is registered yet.
    """
    workspace, registry = Workspace(project.root), Registry(project.root, project.model_name)
    version = registry.champion()
    if version is None:
        raise InputError(f"model '{project.model_name}' has no champion yet; `doubleroute train` makes one")
    data = pull(project.root, project.all_paths)
    validated = validate(project, workspace)
    encoded = encode(project, workspace, validated)
    evaluated = evaluate(project, workspace, validated, encoded, {}, champion_of(registry, version))
    evaluation = read_evaluation(evaluated)
    counts = read_summary(validated)["tasks"]
    reported = report(project, workspace, data, validated, {}, evaluated, counts)
    return {
        "evaluation": evaluation,
        "verdicts": verdicts(evaluation),
        "version": version.number,
        "report": str(reported.path / "report.html"),
        "data_version": data.as_dict(),
        "counts": counts,
    }
