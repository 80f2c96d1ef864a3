"""Which store the registry opens, and what is said when it cannot be opened."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from doubleroute.errors import InputError, MachineError
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.registry_store import connect, locate, moved


def test_looking_creates_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "demo")
    assert registry.champion() is None
    assert registry.challenger() is None
    assert registry.describe()["exists"] is False
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="nothing is registered yet"):
        registry.version("champion")


def test_a_damaged_database_is_an_error_that_says_where(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"this is no database at all " * 100)
    with pytest.raises(MachineError, match=r"mlflow\.db: .*not a database"):
        Registry(tmp_path, "demo").champion()


def test_a_model_name_that_mlflow_would_refuse_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"promotion\.model_name: 'a/b'"):
        Registry(tmp_path, "a/b")


#: What MLFLOW_TRACKING_URI holds, and what `train` says one does to look at the runs.
PAGES = {
    "a server": (
        "https://me:secret@runs.example.org:5000/ml",
        "open https://runs.example.org:5000/ml in a browser",
    ),
    "a database": (
        "postgresql://me:secret@db/mlflow",
        'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"',
    ),
    "a file": ("sqlite:////data/my runs.db", "mlflow ui --backend-store-uri 'sqlite:////data/my runs.db'"),
}


@pytest.mark.parametrize(("uri", "said"), PAGES.values(), ids=PAGES)
def test_how_to_look_at_the_runs_can_be_done_as_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    assert (
        Registry(tmp_path, "demo").page
        == f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow/mlflow.db"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert Registry(tmp_path, "demo").page == said


def test_a_server_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uri in ("http://me:secret@127.0.0.1:9", "postgresql://me:secret@127.0.0.1:9/mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        start = time.monotonic()
        with pytest.raises(MachineError, match=r"me:\*\*\*@127\.0\.0\.1:9.*does not answer") as caught:
            Registry(tmp_path, "demo").champion()
        assert time.monotonic() - start < 10
        assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.costly
def test_a_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{hung.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(MachineError, match="does not answer"):
            Registry(tmp_path, "demo").champion()
        assert time.monotonic() - start < 10


def as_a_user(function: Callable[[], None]) -> str:
    """What ``function`` raises as MachineError in a child that is not root, to whom nothing is read-only."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            function()
        except MachineError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as said:
        return said.read().decode()


def test_a_store_that_cannot_be_written_is_told_before_training_and_nothing_is_created() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # a user may enter it
        root = Path(name)
        root.chmod(0o777)
        registry = Registry(root, "demo")
        assert as_a_user(registry.refuse_read_only) == ""
        root.chmod(0o555)
        assert f"cannot write {root}: a trained model" in as_a_user(registry.refuse_read_only)
        root.chmod(0o777)
        (root / "mlflow" / "artifacts").mkdir(parents=True)
        for path in (root / "mlflow", root / "mlflow" / "artifacts"):
            path.chmod(0o555)
            assert f"cannot write {path}: a trained model" in as_a_user(registry.refuse_read_only)
            path.chmod(0o777)
        assert as_a_user(registry.refuse_read_only) == ""
        (root / "mlflow" / "mlflow.db").touch(mode=0o444)
        assert "mlflow.db: a trained model" in as_a_user(registry.refuse_read_only)


@pytest.mark.costly
def test_a_copy_of_a_project_writes_to_its_own_place_whatever_the_model_is_called(tmp_path: Path) -> None:
    name = "Mein größtes Modell"
    first, second = tmp_path / "first", tmp_path / "second"
    store = locate(first)
    connect(store, name).create_experiment(name, artifact_location=store.artifacts(name))
    shutil.copytree(first, second)
    found = connect(locate(second), name).get_experiment_by_name(name)
    assert found.artifact_location == locate(second).artifacts(name)
    assert moved(locate(second), name) is None
