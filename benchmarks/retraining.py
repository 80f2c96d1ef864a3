"""What retraining costs after new rows came, against training from nothing and against Trainer.

    python benchmarks/retraining.py [--rows 1500]

MiniLM on Rotten Tomatoes reviews, one thread, the three top layers learning from the stored outputs of the
lower three. A training from nothing on all rows, in an empty workspace, is held against two retrainings in
turn, each from the model before it, which compute the stored outputs of the new rows alone: a first champion
learns from nothing, 10% are new to it in the first retraining, and 2% to its successor in the second, which
has all rows. As in `doubleroute retrain` rows that the champion has not learned from are drawn more often.
Seconds of stored outputs and fit, and the accuracy on 1,000 other reviews, of one seed:
retraining_score.py has several.
The same with heads that are solved on pooled states (``training.mode: heads``): of the pretrained backbone's
layers, and (``retraining.mode: heads``) of the champion's last one.
Where fewer than all rows are learned from, the times of the others are computed for as many: from nothing
from its time on all, Trainer from its speed on 256 rows. Trainer does more work: it trains all layers, as
people do who retrain with it, and its accuracy is not measured.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from fits import Ready, learner_of, ready, train, write_rows
from measure import Line, tell
from reviews import SOURCE, read
from training import BATCH, apart, fastest

from doubleroute.data.arrivals import ROWS, Seen, remember
from doubleroute.digests import file_digest
from doubleroute.linear import cores
from doubleroute.modeling.inference import Answerer
from doubleroute.training.heads_fit import HeadsFit
from doubleroute.training.ladder import store
from doubleroute.training.machine import resolve_precision
from doubleroute.training.plan import FROM_NOTHING, Plan, Rung, Start
from doubleroute.training.selection import selection
from doubleroute.training.variants import variant

TEST = 1000
WARM = 64
EPOCHS = 3
SEED = 17
FRESH = "from nothing, computed for as many reviews from its time on all in this run"
LAYERS = "{kind: layers, bottleneck: 16}"


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1500)
    rows = parser.parse_args().rows
    first, second = round(rows * 0.98 * 0.9), round(rows * 0.98)  # rows of the champions
    speed = apart("lengths and bf16", 256)  # of Trainer, tokens a second
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        learned(root / "warm", WARM)  # imports and first allocations are nobody's
        nothing = learned(root / "empty", rows)
        champion = learned(root / "rows", first)
        again = learned(root / "rows", second, champion)
        after(again, champion, nothing, speed, None)
        after(learned(root / "rows", rows, again), again, nothing, speed, 4.0)
        heads_after(root, (first, second), champion, nothing, speed)
        trainer = EPOCHS * nothing.tokens / speed
        work = "an epoch from the stored outputs of layer 3"
        against = "an epoch of Trainer, as above"
        tell(Line(work, against, "s", [nothing.fit / EPOCHS], [trainer / EPOCHS], 1.8))


def after(
    again: "Learned", champion: "Learned", nothing: "Learned", speed: float, least: float | None
) -> None:
    """The lines of a retraining; ``speed`` of Trainer, in tokens a second, ``least``: the ratio that is
    wanted."""
    share = 1 - champion.rows / again.rows
    work = f"retraining after {share:.0%} new of {again.rows:,} reviews, stored outputs and fit"
    fresh = nothing.seconds * again.rows / nothing.rows
    note = scored(again, champion, nothing)
    tell(Line(work, FRESH, "s", [again.seconds], [fresh], least, note=note))
    trainer = EPOCHS * again.tokens / speed
    tell(Line(work, all_layers(), "s", [again.seconds], [trainer]))


def scored(again: "Learned", champion: "Learned", nothing: "Learned") -> str:
    """The accuracies of a retraining, of the model before it, and of all rows from nothing."""
    others = f"the champion before {accuracy(champion.folder):.3f}"
    others += f", from nothing on {nothing.rows:,} {accuracy(nothing.folder):.3f}"
    return f"accuracy on {TEST:,}: {accuracy(again.folder):.3f}, {others}"


def all_layers() -> str:
    """The peer that trains everything, as the lines name it."""
    return (
        f"Trainer, all layers, {EPOCHS} epochs, length groups and {fastest()}, from its speed on 256 rows in "
        "this run; its accuracy is not measured here"
    )


def plan_of(given: Ready, champion: "Learned | None") -> Plan:
    """As `doubleroute retrain` has it: from the champion's weights, rows that are new to it drawn more often;
    without a champion from nothing."""
    if champion is None:
        return FROM_NOTHING
    start = Start(champion.folder, file_digest(champion.folder / "model.safetensors"))
    seen = Seen.read(champion.keys)
    return Plan(start, selection(given.project, given.workspace, given.validated, seen))


def heads_after(
    root: Path, counts: tuple[int, int], champion: "Learned", nothing: "Learned", speed: float
) -> None:
    """The lines of solved heads when there were so many reviews, and then so many."""
    old, rows = counts
    whole = solved(root / "heads", old, None, LAYERS)
    again = solved(root / "heads", rows, None, LAYERS)
    for new, each in ((f"{rows - old:,}", again), ("all", whole)):
        work = f"heads solved on the states of all layers, {each.rows:,} reviews, {new} new"
        scores = f"accuracy on {TEST:,}: {accuracy(each.folder):.3f}"
        tell(Line(work, all_layers(), "s", [each.seconds], [EPOCHS * each.tokens / speed], note=scores))
    solved(root / "rows", old, champion)
    again = solved(root / "rows", rows, champion)
    work = f"the champion's head solved anew, {rows - old:,} of {rows:,} reviews new to it"
    scores = f"{scored(again, champion, nothing)}; "
    scores += "the states of the others are stored, as a retraining before leaves them"
    trainer, fresh = EPOCHS * again.tokens / speed, nothing.seconds * again.rows / nothing.rows
    for against, seconds, least in ((all_layers(), trainer, 50), (FRESH, fresh, 8)):
        tell(Line(work, against, "s", [again.seconds], [seconds], least, note=scores))


@dataclass(frozen=True)
class Learned:
    """A model trained on so many ``rows``: its ``folder``, the ``seconds`` of stored outputs and fit
    (``fit`` alone), the ``tokens`` of an epoch, and the file of the ``keys`` of its rows."""

    rows: int
    folder: Path
    seconds: float
    fit: float
    tokens: int
    keys: Path


def learned(root: Path, rows: int, champion: Learned | None = None, seed: int = SEED) -> Learned:
    """Train on the first ``rows`` reviews, from nothing or from a champion."""
    given = written(root, rows, seed=seed)
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
    return Learned(rows, out / "model", ended - begun, ended - middle, tokens, keys)


def solved(
    root: Path, rows: int, champion: Learned | None, router: str = "{kind: none}", seed: int = SEED
) -> Learned:
    """Solve the heads on the first ``rows`` reviews, of the pretrained backbone or of a champion."""
    given = written(root, rows, router, seed)
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
    return Learned(rows, out / "model", seconds, seconds, tokens, keys)


@cache
def accuracy(model: Path) -> float:
    """Of a trained model on the last TEST reviews, by all processors: it is not timed."""
    texts, labels = read()["rotten_tomatoes"]
    threads = torch.get_num_threads()
    found = Answerer(model, cores()).answer([{"text": text} for text in texts[-TEST:]])
    torch.set_num_threads(threads)
    right = [each["sentiment"]["label"] == label for each, label in zip(found, labels[-TEST:], strict=True)]
    return sum(right) / TEST


def written(root: Path, rows: int, router: str = "{kind: none}", seed: int = SEED) -> Ready:
    """A project on the first ``rows`` reviews, checked and tokenised; ``router`` in YAML."""
    root.mkdir(parents=True, exist_ok=True)
    texts, labels = (each[:rows] for each in read()["rotten_tomatoes"])
    pairs = zip(texts, labels, strict=True)
    write_rows(root / "rows.jsonl", ({"text": text, "label": label} for text, label in pairs))
    (root / "project.yaml").write_text(
        f"name: bench\nseed: {seed}\nbackbone: {{source: '{SOURCE}', max_tokens: 128}}\nrouter: {router}\n"
        "tasks: {sentiment: {kind: classification, files: {train: rows.jsonl}, "
        "split: {validation: 0.05, test: 0.02}}}\n"
        f"training: {{epochs: {EPOCHS}, batch_size: {BATCH}, trainable: 3, checkpoint_seconds: 3600}}\n",
        encoding="utf-8",
    )
    return ready(root)


if __name__ == "__main__":
    main()
