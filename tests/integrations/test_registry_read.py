"""The embedded registry read from its database: the same as MLflow reads, or MLflow reads."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from doubleroute.errors import MachineError
from doubleroute.integrations import registry_read
from doubleroute.integrations import registry_store as stores
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.registry_version import registered

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def client(root: Path) -> "MlflowClient":
    """Its two models; of "demo" versions 1, 3 and 11, with tags and aliases. Not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = stores.connect(stores.locate(root), "demo")
    for name, versions in {"other": 2, "demo": 11}.items():
        client.create_registered_model(name, {"doubleroute.moving": name})
        for number in range(1, versions + 1):
            client.create_model_version(name, f"file:///{number}", run_id=None, tags={"of": name})
    for number in (2, *range(4, 11)):
        client.delete_model_version("demo", str(number))
    for alias, number in {"champion": "3", "challenger": "11", "best": "3"}.items():
        client.set_registered_model_alias("demo", alias, number)
    return client


def database(root: Path) -> Path:
    return root / "mlflow" / "mlflow.db"


@pytest.mark.parametrize("name", ["demo", "other", "none of that name"])
def test_the_database_says_what_mlflow_says(client: "MlflowClient", root: Path, name: str) -> None:
    assert registry_read.readable(database(root))
    found = registry_read.read(database(root), name)
    assert found == registered(client, name)
    for version in found.versions:
        assert version.place == client.get_model_version_download_uri(name, version.number)


def test_who_is_champion_is_known_without_mlflow(client: "MlflowClient", root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from doubleroute.integrations.registry import Registry; "
        f"print(Registry(Path({str(root)!r}), 'demo').champion().number, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(client.get_registered_model("demo").aliases["champion"]) == "3"
    assert done.stdout.split() == ["3", "False"]


def test_of_a_database_with_another_schema_mlflow_says_what_it_is(
    client: "MlflowClient", root: Path, tmp_path: Path
) -> None:
    assert client.get_registered_model("demo")
    shutil.copytree(root / "mlflow", tmp_path / "mlflow")  # MLflow looks once at a database
    old = database(tmp_path)
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'bd07f7e963c5'")
    assert not registry_read.readable(old)
    with pytest.raises(MachineError, match="out-of-date database schema"):
        Registry(tmp_path, "demo").champion()
