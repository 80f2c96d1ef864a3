"""Registration and promotion killed at random moments."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doubleroute.integrations.registry import Registry
from doubleroute.modeling.inference import Answerer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
EXAMPLES = [{"text": "a good film"}]

REGISTER = """
import json, sys
from pathlib import Path
from doubleroute.integrations.registry import Candidate, Registry
root, model, golden, examples = sys.argv[1:]
registry = Registry(Path(root), "demo")
candidate = Candidate(
    run_key="killed", model_folder=Path(model), examples=json.loads(examples), golden=json.loads(golden)
)
version = registry.register(candidate)
registry.promote(version, None, {"verdict": "promote"})
print("done")
"""


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)


def test_killed_anywhere_and_started_again_it_ends_with_one_version(tiny_model: Path, tmp_path: Path) -> None:
    golden = Answerer(tiny_model, threads=1).answer(EXAMPLES)

    def command(root: Path) -> list[str]:
        plain = [json.dumps(golden), json.dumps(EXAMPLES)]
        return [sys.executable, "-c", REGISTER, str(root), str(tiny_model), *plain]

    start = time.monotonic()
    subprocess.run(command(tmp_path / "unharmed"), check=True)
    whole = time.monotonic() - start
    root = tmp_path / "killed"
    chance = random.Random(3)
    for _ in range(8):
        process = subprocess.Popen(command(root), stdout=subprocess.PIPE, text=True, start_new_session=True)
        time.sleep(chance.uniform(0.15, 1.0) * whole)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = subprocess.run(command(root), check=True, capture_output=True, text=True)
    assert "done" in done.stdout
    registry = Registry(root, "demo")
    (version,) = registry.versions()
    assert version.aliases == ("champion",)
    assert registry.model_folder(version).is_dir()
