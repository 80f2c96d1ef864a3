"""The promotion gate on models that were really trained, one of them on spoilt labels of one source."""

import random
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import load_project
from doubleroute.integrations.validation import validate
from doubleroute.promotion import Decision, decide
from doubleroute.training.encode import encode
from doubleroute.training.evaluate import Champion, evaluate, read_evaluation
from doubleroute.training.ladder import fit, store
from doubleroute.workspace import Stage, Workspace

pytestmark = pytest.mark.slow
ABOUT = {"router": None, "steps": 0, "parameters": 0, "trained_parameters": 0, "seconds": 0.0}
WORDS = {"mail": ("bad", "good"), "chat": ("42", "film")}


def rows(count: int, seed: int, spoilt: bool = False) -> str:
    """Lines whose label is told by one word, another one in each source; ``spoilt``: wrong in chats."""
    draw, lines = random.Random(seed), ["text,label,source"]
    for number in range(count):
        source, side = ("mail", "chat")[number % 2], draw.randrange(2)
        words = [*draw.sample(["the", "model", "reads", "this", "short", "line", "of", "plain"], 6)]
        words.insert(draw.randrange(7), WORDS[source][side])
        label = ("neg", "pos")[1 - side if spoilt and source == "chat" else side]
        lines.append(f"{' '.join(words)},{label},{source}")
    return "\n".join(lines) + "\n"


def project(root: Path, backbone: Path, train: str, epochs: int, validation: str | None = None) -> Path:
    (root / "data").mkdir(parents=True)
    (root / "data" / "train.csv").write_text(train, encoding="utf-8")
    (root / "data" / "validation.csv").write_text(validation or rows(60, 8), encoding="utf-8")
    (root / "data" / "test.csv").write_text(rows(240, 9), encoding="utf-8")
    (root / "project.yaml").write_text(
        f"""\
name: trained
seed: 3
backbone: {{source: '{backbone}', max_tokens: 16}}
tasks:
  mood:
    kind: classification
    files: {{train: data/train.csv, validation: data/validation.csv, test: data/test.csv}}
    slices: [source]
training: {{epochs: {epochs}, batch_size: 16, learning_rate: 0.001, head_learning_rate: 0.02}}
evaluation: {{bootstrap: 100, baselines: [majority]}}
validation: {{leaks: warn}}
promotion: {{max_latency_ratio: 20}}
""",
        encoding="utf-8",
    )
    return root


def trained(root: Path, against: Champion | None) -> tuple[Stage, Decision, dict[str, Any]]:
    """The fit of a project, and what the promotion gate says of it against a champion."""
    loaded, workspace = load_project(root), Workspace(root)
    validated = validate(loaded, workspace)
    encoded = encode(loaded, workspace, validated)
    stored = store(loaded, workspace, encoded, lambda *_: None)
    fits = fit(loaded, workspace, validated, encoded, stored, lambda *_: None)
    evaluation = read_evaluation(evaluate(loaded, workspace, validated, encoded, dict(fits), against))
    return fits["routed"], decide(evaluation, loaded.promotion), evaluation


def test_a_model_trained_on_spoilt_chats_is_refused_by_that_name_and_the_clean_one_replaces_it(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    clean, _, evaluation = trained(project(tmp_path / "clean", tiny_backbone, rows(600, 1), 6), None)
    assert evaluation["tasks"]["mood"]["models"]["routed"]["scores"]["accuracy"]["value"] > 0.9
    champion = Champion(clean.path / "model", clean.digest, ABOUT)
    # Validation is spoilt too: by a clean one the best epoch is one that has learned nothing.
    wrong = [rows(count, seed, spoilt=True) for count, seed in ((600, 1), (60, 8))]
    spoilt = project(tmp_path / "spoilt", tiny_backbone, wrong[0], 6, wrong[1])
    fitted, decision, _ = trained(spoilt, champion)
    assert decision.verdict == "refuse"
    named = [reason for reason in decision.reasons if "this slice is worse" in reason]
    assert [reason.split(":")[0] for reason in named] == ["mood, source=chat"], decision.reasons

    worse = Champion(fitted.path / "model", fitted.digest, ABOUT)
    _, back, _ = trained(tmp_path / "clean", worse)
    assert back.verdict == "promote", back.reasons
