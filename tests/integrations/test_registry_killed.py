"""Registration and promotion killed at random moments."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doubleroute.integrations.registry import Candidate, Registry
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


def test_killed_anywhere_and_started_again_it_ends_with_one_version(tiny_model: Path, tmp_path: Path) -> None:
    golden = Answerer(tiny_model, threads=1).answer(EXAMPLES)

    def command(root: Path) -> list[str]:
        plain = [json.dumps(golden), json.dumps(EXAMPLES)]
        return [sys.executable, "-c", REGISTER, str(root), str(tiny_model), *plain]

    start = time.monotonic()
    subprocess.run(command(tmp_path / "unharmed"), check=True)
    whole = time.monotonic() - start
    root = tmp_path / "killed"
    chance, killed = random.Random(3), 0
    for _ in range(8):
        process = subprocess.Popen(command(root), stdout=subprocess.PIPE, text=True, start_new_session=True)
        time.sleep(chance.uniform(0.15, 1.0) * whole)
        if process.poll() is None:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert killed >= 3
    done = subprocess.run(command(root), check=True, capture_output=True, text=True)
    assert "done" in done.stdout
    registry = Registry(root, "demo")
    (version,) = registry.versions()
    assert version.aliases == ("champion",)
    assert registry.model_folder(version).is_dir()


MOVE = """
import sys
from pathlib import Path
from doubleroute.integrations.registry import Registry
registry = Registry(Path(sys.argv[1]), "demo")
if sys.argv[2] == "promote":
    registry.promote(registry.version("2"), "1", {"verdict": "promote", "reasons": ["better"]})
else:
    registry.rollback("worse")
"""


def test_a_promotion_or_rollback_killed_anywhere_leaves_a_champion_that_loads(
    tiny_model: Path, tmp_path: Path
) -> None:
    golden = Answerer(tiny_model, threads=1).answer(EXAMPLES)
    registry = Registry(tmp_path, "demo")
    first = registry.register(Candidate("one", tiny_model, EXAMPLES, golden))
    client = registry._connect()
    client.create_model_version(
        "demo", first.source, first.run_id, tags={**first.tags, "doubleroute.run_key": "two"}
    )
    client.set_registered_model_alias("demo", "champion", "1")
    registry.settle()
    chance, whole, killed = random.Random(4), 15.0, 0
    for number in range(8):
        now = registry.champion()
        assert now is not None
        job = "promote" if now.number == "1" else "rollback"
        words = [sys.executable, "-c", MOVE, str(tmp_path), job]
        begun = time.monotonic()
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
        if number:
            time.sleep(chance.uniform(0.1, 1.0) * whole)
            if process.poll() is None:
                killed += 1
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        whole = whole if number else time.monotonic() - begun
        champion = registry.champion()
        assert champion is not None
        assert registry.model_folder(champion).is_dir()
        registry.settle()
        history = registry.history()
        assert history[0]["version"] == champion.number
        steps = [(each["from"], each["version"]) for each in reversed(history)]
        assert all(before[1] == after[0] for before, after in itertools.pairwise(steps)), steps
    assert killed >= 3
