"""What a frozen backbone with a solved head reaches, against a plain logistic regression on the same states.

    python benchmarks/frozen.py FOLDER [--seeds 3]

Rotten Tomatoes, a tenth of the 8,530 reviews each for validation and test, another draw for each seed; the
states of a review are computed once and kept in FOLDER. Ours is `training.mode: heads` with the router
`layers` and a bottleneck, which lets the head read all layers. The others are scikit-learn's logistic
regression on the mean-pooled states of all layers or of the last: as it stands, and on scaled states with
the strength of its penalty chosen on the validation rows.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from reviews import MAX_TOKENS, SOURCE, read
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers.utils.logging import disable_progress_bar

from doubleroute.config import load_project
from doubleroute.integrations.validation import validate
from doubleroute.modeling.inference import logits_of
from doubleroute.training.encode import encode, load_split
from doubleroute.training.heads_fit import HeadsFit
from doubleroute.training.intervals import resampled
from doubleroute.training.machine import resolve_precision
from doubleroute.training.plan import FROM_NOTHING
from doubleroute.training.variants import variant
from doubleroute.workspace import Workspace

TASK = "sentiment"
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
PROJECT = f"""\
name: frozen
backbone: {{source: '{SOURCE}', max_tokens: {MAX_TOKENS}}}
router: {{kind: layers, bottleneck: 16}}
tasks:
  {TASK}: {{kind: classification, files: {{train: rows.jsonl}}, split: {{validation: 0.1, test: 0.1}}}}
training: {{mode: heads}}
"""


def main() -> None:
    """Print an accuracy for each seed and contender, and the differences to ours."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    disable_progress_bar()
    options.folder.mkdir(parents=True, exist_ok=True)
    texts, labels = read()["rotten_tomatoes"]
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    (options.folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (options.folder / "project.yaml").write_text(PROJECT, encoding="utf-8")
    right: dict[str, list[np.ndarray]] = {}
    for seed in range(17, 17 + options.seeds):
        for name, each in contenders(options.folder, seed):
            right.setdefault(name, []).append(each)
            print(f"seed {seed}: {name}: {each.mean():.3f} of {len(each)}", flush=True)
    ours = np.concatenate(right["ours"])
    for name, found in right.items():
        mean = np.mean([each.mean() for each in found])
        better = "" if name == "ours" else f"; ours is better by {gain(ours, found)}"
        print(f"{name}: mean {mean:.3f}{better}")


def gain(ours: np.ndarray, theirs: list[np.ndarray]) -> str:
    """The difference of accuracies over all seeds' test rows, with a paired 95% bootstrap interval."""
    difference = ours.astype(float) - np.concatenate(theirs)
    means = [difference[rows].mean() for rows in resampled(len(difference), 2000, 17)]
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{difference.mean():+.3f} [{low:.3f}, {high:.3f}]"


def contenders(root: Path, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Of each contender which test rows it has right: bool [rows]."""
    project, workspace = load_project(root, [f"seed={seed}"]), Workspace(root)
    validated = validate(project, workspace)
    encoded = encode(project, workspace, validated)
    chosen = variant(project, "routed", rung="heads")
    fit = HeadsFit(project, workspace, chosen, validated, encoded, resolve_precision("auto"), FROM_NOTHING)
    test = fit.rows["test"] = load_split(encoded.path, "test")
    with tempfile.TemporaryDirectory() as scratch:
        fit.run(Path(scratch), lambda _: None)
    rows, labels = test[TASK], {split: np.asarray(of[TASK].labels) for split, of in fit.rows.items()}
    logits = logits_of(fit.model, rows.packed, [TASK], fit.tokenizer.pad_token_id)[TASK]
    yield "ours", np.argmax(np.stack(logits), 1) == labels["test"]
    states = {
        split: fit.states(TASK, split, lambda _: None).features().astype(np.float32) for split in fit.rows
    }
    hidden = int(fit.model.backbone.config.hidden_size)
    for name, columns in (("all layers", slice(None)), ("the last layer", slice(hidden))):
        seen = {split: each[:, columns] for split, each in states.items()}
        plain = LogisticRegression(max_iter=2000).fit(seen["train"], labels["train"])
        yield f"logistic regression, {name}", plain.predict(seen["test"]) == labels["test"]
        tried = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(
                seen["train"], labels["train"]
            )
            for strength in STRENGTHS
        ]
        best = max(tried, key=lambda each: each.score(seen["validation"], labels["validation"]))
        yield f"the same, scaled, C chosen, {name}", best.predict(seen["test"]) == labels["test"]


if __name__ == "__main__":
    main()
