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


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """A project with two models; of "demo" versions 1, 3 and 11, with tags and aliases."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    client = stores.connect(stores.locate(tmp_path), "demo")
    for name in ("other", "demo"):
        client.create_registered_model(name, {"doubleroute.moving": name})
        for number in range(1, 12):
            client.create_model_version(name, f"file:///{number}", run_id=None, tags={"of": name})
    for number in (2, *range(4, 11)):
        client.delete_model_version("demo", str(number))
    for alias, number in {"champion": "3", "challenger": "11", "best": "3"}.items():
        client.set_registered_model_alias("demo", alias, number)
    return client


def database(root: Path) -> Path:
    return root / "mlflow" / "mlflow.db"


@pytest.mark.parametrize("name", ["demo", "other", "none of that name"])
def test_the_database_says_what_mlflow_says(client: "MlflowClient", tmp_path: Path, name: str) -> None:
    assert registry_read.readable(database(tmp_path))
    found = registry_read.read(database(tmp_path), name)
    assert found == registered(client, name)
    for version in found.versions:
        assert version.place == client.get_model_version_download_uri(name, version.number)


def test_who_is_champion_is_known_without_mlflow(client: "MlflowClient", tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from doubleroute.integrations.registry import Registry; "
        f"print(Registry(Path({str(tmp_path)!r}), 'demo').champion().number, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(client.get_registered_model("demo").aliases["champion"]) == "3"
    assert done.stdout.split() == ["3", "False"]


def test_of_a_database_with_another_schema_mlflow_says_what_it_is(
    client: "MlflowClient", tmp_path: Path
) -> None:
    assert client.get_registered_model("demo")
    shutil.copytree(tmp_path / "mlflow", tmp_path / "old" / "mlflow")  # MLflow looks once at a database
    old = database(tmp_path / "old")
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'bd07f7e963c5'")
    assert not registry_read.readable(old)
    with pytest.raises(MachineError, match="out-of-date database schema"):
        Registry(tmp_path / "old", "demo").champion()
