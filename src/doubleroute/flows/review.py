"""The review flow: what a change of the data does, with artifacts that people look at in Prefect."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.utilities.annotations import quote

from doubleroute.environment import set_defaults
from doubleroute.flows.timeline import FitProgress, Timeline


@flow(name="review", persist_result=False, validate_parameters=True)
def review(
    project: str = ".",
    base: str = "HEAD~1",
    head: str | None = "HEAD",
    full: bool = False,
    changes: list[str] | None = None,
) -> dict[str, Any]:
    """Review what ``head`` changes against where it left ``base``; None reviews what is staged.

    1. read: both versions by git and DVC, validated; the working tree stays as it is
    2. compare: row by row
    3. find: what is wrong with the change
    4. measure: what it does to each task's score; with ``full`` also by training for real
    5. conclude: the verdict by the project's rules, the page, the artifacts; an approved review is logged in
       MLflow with its data version
    """
    set_defaults()
    from doubleroute.flows import review_steps as steps
    from doubleroute.flows.reviewing import bounded, refuse_beside_a_training

    root, clock = Path(project).resolve(), Timeline()
    if full:
        refuse_beside_a_training(root)
    found = clock(steps.read_versions, root, base, head, changes or ())
    rows = quote(found)  # or Prefect looks for states in every cell, at every step
    with bounded(found), FitProgress() as progress:
        clock(steps.compare_rows, rows)
        clock(steps.find_faults, rows)
        clock(steps.measure_impact, rows, progress, full)
        document, folder = clock(steps.conclude_review, rows)
    logged = clock(steps.log_approved, rows, quote(document), folder)
    name, said = found.project.name, (folder / "review.md").read_text(encoding="utf-8")
    create_markdown_artifact(said, key=f"{name}-review", description="what a change of the data does")
    create_link_artifact(
        (folder / "review.html").as_uri(), link_text="review.html", key=f"{name}-review-page"
    )
    return {
        "verdict": document["verdict"],
        "head": document["head"],
        "report": str(folder / "review.html"),
        "logged": logged,
        "stages": clock.stages,
        "seconds": clock.seconds,
    }
