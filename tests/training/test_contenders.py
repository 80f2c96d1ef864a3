"""Who is compared with whom."""

from pathlib import Path

from doubleroute.config import ExpertsRouter, MlpRouter, load_project
from doubleroute.modeling.routers import Sizes
from doubleroute.training.contenders import contenders, couples

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
