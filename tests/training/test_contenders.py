"""Who is compared with whom."""

import json
from pathlib import Path

from test_fit import Run

from doubleroute.config import ExpertsRouter, MlpRouter, Project, load_project
from doubleroute.modeling.routers import Sizes
from doubleroute.training.contenders import contenders, couples
from doubleroute.training.crew import Order

ROUTERS = {"experts": ExpertsRouter(kind="experts"), "mlp:width=8": MlpRouter(kind="mlp", width=8)}


def test_each_router_has_a_dense_layer_of_its_own(tiny_project: Path) -> None:
    models = contenders(load_project(tiny_project), ROUTERS, Sizes(16, 2, 2))
    assert [each.title for each in models] == [
        *("single sentiment", "single entities", "shared"),
        *("dense like experts", "experts", "dense like mlp:width=8", "mlp:width=8"),
    ]
    found = couples(models)
    assert ("mlp:width=8", "dense like mlp:width=8") in found
    assert ("mlp:width=8", "dense like experts") not in found
    assert len(found) == len(set(found)) == 9
    assert found[-1] == ("shared", "single")


def test_with_one_task_there_is_no_model_of_its_own(tiny_project: Path) -> None:
    project = load_project(tiny_project)
    one = project.model_copy(update={"tasks": {"sentiment": project.tasks["sentiment"]}})
    models = contenders(one, {"experts": ROUTERS["experts"]}, Sizes(16, 1, 2))
    assert [each.name for each in models] == ["shared", "dense", "experts"]
    assert couples(models) == [("experts", "shared"), ("experts", "dense"), ("dense", "shared")]


def test_a_worker_can_read_the_order_of_a_model_that_lacks_what_promotion_and_retraining_ask_for(
    tiny_project: Path,
) -> None:
    run = Run(
        tiny_project,
        *("promotion.router_checks.min_gain=0", "promotion.margins={entities: 0.1}"),
        *("retraining.max_falls={entities: 0.1}", "tasks.sentiment.labels=[neg, pos]"),
    )
    # Rows by the time column of a task that is left out, and the ladder of a policy with another start.
    policy = {"rows": "recent", "start": "pretrained", "mode": "heads"}
    dated = run.project.retraining.model_copy(update=policy)
    weights = {"labels": ("neg", "new"), "class_weights": {"pos": 2.0}}  # of base, which head calls new
    tasks = {"sentiment": run.project.tasks["sentiment"].model_copy(update=weights)}
    project = run.project.model_copy(update={"tasks": tasks, "retraining": dated}).at(tiny_project)
    order = Order(project, run.validated, run.encoded, run.stored, "float32")
    for each in contenders(project, ROUTERS, Sizes(16, 1, 2)):
        written = each.order(order, seed=5).write(run.workspace, threads=1)
        said = json.loads(written.read_text(encoding="utf-8"))["project"]
        assert Project.model_validate_json(said).router == each.router
