"""The registry on a real `mlflow server` with proxied artifacts, on the loopback interface."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from doubleroute.errors import MachineError
from doubleroute.integrations.registry import Candidate, Registry
from doubleroute.modeling.inference import Answerer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXAMPLES = [{"text": "a good film"}]


@pytest.fixture(scope="module")
def server_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder of artifacts; its database and log lie beside it."""
    return tmp_path_factory.mktemp("server") / "artifacts"


@pytest.fixture(scope="module")
def server(server_artifacts: Path) -> Iterator[str]:
    """The address of a server with a sqlite database and a folder of artifacts."""
    folder = server_artifacts.parent
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tools = Path(sys.executable).parent
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *(tools / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}"),
                *("--artifacts-destination", str(server_artifacts)),
            ],
            cwd=folder,
            env={**os.environ, "PATH": os.pathsep.join([str(tools), os.environ["PATH"]])},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_register_promote_and_download_with_every_digest_checked(
    server: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    golden = Answerer(tiny_model, threads=1).answer(EXAMPLES)
    candidate = Candidate("key", tiny_model, EXAMPLES, golden, params={"a": 1}, metrics={"m": 0.5})
    registry = Registry(tmp_path / "one", "demo")
    assert registry.champion() is None
    version = registry.register(candidate)
    assert registry.register(candidate) == version
    assert registry.promote(version, None, {"verdict": "promote"}).aliases == ("champion",)
    assert not (tmp_path / "one" / "mlflow").exists()

    elsewhere = Registry(tmp_path / "two", "demo")
    champion = elsewhere.champion()
    assert champion is not None
    folder = elsewhere.model_folder(champion)
    assert folder.is_relative_to(tmp_path / "two")
    assert Answerer(folder, threads=1).answer(EXAMPLES) == golden
    os.utime(folder.parents[1], (1e9, 1e9))
    assert elsewhere.model_folder(champion) == folder
    assert folder.parents[1].stat().st_mtime > 1e9, "it was used now: no training removes it within a day"
    (folder / "config.json").write_text("{}")
    assert elsewhere.model_folder(champion) == folder
    assert (folder / "config.json").read_bytes() == (tiny_model / "config.json").read_bytes()


def test_a_model_that_the_server_damaged_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_artifacts: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    (weights,) = server_artifacts.glob("*/models/*/artifacts/artifacts/model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    registry = Registry(tmp_path, "demo")
    with pytest.raises(MachineError, match=r"version 1: .*model\.safetensors is damaged"):
        registry.model_folder(registry.version("champion"))
    assert list((tmp_path / ".doubleroute" / "registry").iterdir()) == []
