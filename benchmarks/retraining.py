"""What retraining costs after new rows came, against training from nothing and against Trainer.

    python benchmarks/retraining.py [--rows 2000]

MiniLM on Rotten Tomatoes reviews, one thread, the three top layers learning from the stored outputs of the
lower three. A training from nothing on all rows, in an empty workspace, is held against retraining after 10%
and 2% of them came, which computes the stored outputs of the new rows alone: a champion learns from 90% of
the rows from nothing, and the one before the last 2% was retrained from that one. As in `doubleroute retrain`
rows that the champion has not learned from are drawn more often. Seconds of stored outputs and fit, and the
accuracy on 1,000 other reviews.
The same with heads that are solved on pooled states (``training.mode: heads``): of the pretrained backbone's
layers, and (``retraining.mode: heads``) of the champion's last one.
Trainer does more work: it trains all layers, as people do who retrain with it. Its time is computed from its
speed on 512 rows, and its accuracy is not measured.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

from fits import Ready, learner_of, ready, train, write_rows
from measure import Line, tell
from reviews import SOURCE, read
from training import BATCH, apart, fastest

from doubleroute.data.arrivals import ROWS, Seen, remember
from doubleroute.digests import file_digest
from doubleroute.modeling.inference import Answerer
from doubleroute.training.heads_fit import HeadsFit
from doubleroute.training.ladder import store
from doubleroute.training.machine import resolve_precision
from doubleroute.training.plan import FROM_NOTHING, Plan, Rung, Start
from doubleroute.training.selection import selection
from doubleroute.training.variants import variant

TEST = 1000
WARM = 200
EPOCHS = 3
LAYERS = "{kind: layers, bottleneck: 16}"


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    rows = parser.parse_args().rows
    speed = apart("lengths and bf16", 512)  # of Trainer, tokens a second
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        learned(root / "warm", WARM)  # imports and first allocations are nobody's
        nothing = learned(root / "empty", rows)
        first = learned(root / "first", round(rows * 0.9))
        shutil.copytree(root / "first", root / "later")
        later = learned(root / "later", round(rows * 0.98), first)
        after(root / "later", later, (rows, 0.02, 4.0), nothing, speed)
        after(root / "first", first, (rows, 0.1, None), nothing, speed)
        heads_after(root, round(rows * 0.9), rows, first, speed)
        trainer = EPOCHS * nothing.tokens / speed
        work = "an epoch from the stored outputs of layer 3"
        against = "an epoch of Trainer, as above"
        tell(Line(work, against, "s", [nothing.fit / EPOCHS], [trainer / EPOCHS], 1.8))


def after(
    root: Path, champion: "Learned", what: tuple[int, float, float | None], nothing: "Learned", speed: float
) -> None:
    """The lines for a share of new rows, ``what``: rows, share, wanted ratio; ``speed`` of Trainer, in tokens
    a second."""
    rows, share, least = what
    again = learned(root, rows, champion)
    work = f"retraining after {share:.0%} new of {rows:,} reviews, stored outputs and fit"
    others = (
        f"the champion before {accuracy(champion.folder):.3f}, from nothing {accuracy(nothing.folder):.3f}"
    )
    scores = f"accuracy on {TEST:,}: {accuracy(again.folder):.3f}, {others}"
    tell(Line(work, "from nothing", "s", [again.seconds], [nothing.seconds], least, note=scores))
    trainer = EPOCHS * nothing.tokens / speed
    tell(Line(work, all_layers(), "s", [again.seconds], [trainer]))


def all_layers() -> str:
    """The peer that trains everything, as the lines name it."""
    return (
        f"Trainer, all layers, {EPOCHS} epochs, length groups and {fastest()}, from its speed in this run; "
        "its accuracy is not measured here"
    )


def plan_of(given: Ready, champion: "Learned | None") -> Plan:
    """As `doubleroute retrain` has it: from the champion's weights, rows that are new to it drawn more often;
    without a champion from nothing."""
    if champion is None:
        return FROM_NOTHING
    start = Start(champion.folder, file_digest(champion.folder / "model.safetensors"))
    seen = Seen.read(champion.rows)
    return Plan(start, selection(given.project, given.workspace, given.validated, seen))


def heads_after(root: Path, old: int, rows: int, champion: "Learned", speed: float) -> None:
    """The lines of solved heads when ``rows`` - ``old`` reviews are new."""
    solved(root / "heads", old, None, LAYERS)
    again = solved(root / "heads", rows, None, LAYERS)
    whole = solved(root / "heads-empty", rows, None, LAYERS)
    trainer = EPOCHS * whole.tokens / speed
    against = all_layers()
    for new, each in ((f"{rows - old:,}", again), ("all", whole)):
        work = f"heads solved on the states of all layers, {rows:,} reviews, {new} new"
        scores = f"accuracy on {TEST:,}: {accuracy(each.folder):.3f}"
        tell(Line(work, against, "s", [each.seconds], [trainer], note=scores))
    solved(root / "first", old, champion)
    again = solved(root / "first", rows, champion)
    work = f"the champion's head solved anew, {rows - old:,} of {rows:,} reviews new to it"
    scores = f"accuracy on {TEST:,}: {accuracy(again.folder):.3f}"
    scores += "; the states of the others are stored, as a retraining before leaves them"
    tell(Line(work, against, "s", [again.seconds], [trainer], 50, note=scores))


@dataclass(frozen=True)
class Learned:
    """A trained model: its ``folder``, the ``seconds`` of stored outputs and fit (``fit`` alone), the
    ``tokens`` of an epoch, and the file of the keys of its ``rows``."""

    folder: Path
    seconds: float
    fit: float
    tokens: int
    rows: Path


def learned(root: Path, rows: int, champion: Learned | None = None) -> Learned:
    """Train on the first ``rows`` reviews, from nothing or from a champion."""
    given = written(root, rows)
    plan = plan_of(given, champion)
    begun = time.perf_counter()
    stored = store(given.project, given.workspace, given.encoded, lambda *_: None, plan, ["plain"])
    middle = time.perf_counter()
    learner = learner_of(given, "plain", stored, plan)
    out = root / f"out-{rows}"
    train(learner, out)
    ended = time.perf_counter()
    tokens = int(sum(each.packed.lengths.sum() for each in learner.feed.encoded.values()))
    keys = remember(given.project, given.workspace, given.validated).path / ROWS
    return Learned(out / "model", ended - begun, ended - middle, tokens, keys)


def solved(root: Path, rows: int, champion: Learned | None, router: str = "{kind: none}") -> Learned:
    """Solve the heads on the first ``rows`` reviews, of the pretrained backbone or of a champion."""
    given = written(root, rows, router)
    project, workspace, validated, encoded = given
    plan = replace(plan_of(given, champion), rung=Rung("heads", retraining=champion is not None))
    out = root / f"heads-{rows}"
    out.mkdir()
    begun = time.perf_counter()
    chosen = variant(project, "routed", rung="heads")
    fit = HeadsFit(project, workspace, chosen, validated, encoded, resolve_precision("auto"), plan)
    fit.run(out, lambda _: None)
    seconds = time.perf_counter() - begun
    tokens = int(sum(each.packed.lengths.sum() for each in fit.rows["train"].values()))
    keys = remember(project, workspace, validated).path / ROWS
    return Learned(out / "model", seconds, seconds, tokens, keys)


@cache
def accuracy(model: Path) -> float:
    """Of a trained model on the last TEST reviews."""
    texts, labels = read()["rotten_tomatoes"]
    found = Answerer(model).answer([{"text": text} for text in texts[-TEST:]])
    right = [each["sentiment"]["label"] == label for each, label in zip(found, labels[-TEST:], strict=True)]
    return sum(right) / TEST


def written(root: Path, rows: int, router: str = "{kind: none}") -> Ready:
    """A project on the first ``rows`` reviews, checked and tokenised; ``router`` in YAML."""
    root.mkdir(parents=True, exist_ok=True)
    texts, labels = (each[:rows] for each in read()["rotten_tomatoes"])
    pairs = zip(texts, labels, strict=True)
    write_rows(root / "rows.jsonl", ({"text": text, "label": label} for text, label in pairs))
    (root / "project.yaml").write_text(
        f"name: bench\nbackbone: {{source: '{SOURCE}', max_tokens: 128}}\nrouter: {router}\n"
        "tasks: {sentiment: {kind: classification, files: {train: rows.jsonl}, "
        "split: {validation: 0.05, test: 0.02}}}\n"
        f"training: {{epochs: {EPOCHS}, batch_size: {BATCH}, trainable: 3, checkpoint_seconds: 3600}}\n",
        encoding="utf-8",
    )
    return ready(root)


if __name__ == "__main__":
    main()
