"""The review flow on a tiny project, with a real Prefect server and a real MLflow store."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from versioned import branch, make, sentences, write_sentences

from doubleroute.config import load_project
from doubleroute.flows.review import review
from doubleroute.flows.server import prefect_api
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.registry_reviews import reviews_of
from doubleroute.integrations.versions import read_pointer
from doubleroute.workspace import Workspace

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with prefect_api(Workspace(tmp_path_factory.mktemp("server")), lambda: None):
        yield
    with warnings.catch_warnings():  # Prefect's clients leave their sockets to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


def reverse(data: Path) -> None:
    header, *rows = sentences(data)
    write_sentences(data, [header, *reversed(rows)])


@pytest.mark.costly
def test_an_approved_review_is_shown_in_prefect_and_leads_from_the_data_version(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = make(tmp_path / "project", tiny_backbone)
    branch(root, "topic", reverse)
    md5 = read_pointer(root)
    found = review(str(root), "main", "topic")
    assert found["verdict"]["verdict"] == "approve"
    assert Path(found["report"]).is_file()
    assert [each["name"] for each in found["stages"]] == [
        "read",
        "compare",
        "find",
        "measure",
        "conclude",
        "log",
    ]
    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts()}
    assert {"tiny-review", "tiny-review-page"} <= keys
    registry = Registry(root, load_project(root).model_name)
    (logged,) = reviews_of(registry, found["head"]["dvc_md5"])
    assert logged["run_id"] == found["logged"]
    assert logged["base"]["dvc_md5"] == md5
