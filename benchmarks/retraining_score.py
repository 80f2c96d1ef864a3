"""What retraining costs in accuracy, over seeds: from the champion's weights, and with the head solved anew.

    python benchmarks/retraining_score.py [--rows 2000] [--seeds 1 2 3]

The trainings of retraining.py, each seed with its own splits, initial weights and order of rows; accuracy on
3,000 other reviews, the same for all. A first champion learns from 88% of the rows from nothing; to its
successor 10% are new, and to the one after that 2%, which has all rows, as has the training from nothing
that they are held against. Differences are paired by review; their intervals are over the reviews and leave
out the choice of the seeds.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from retraining import Learned, learned, solved
from reviews import read

from doubleroute.modeling.inference import Answerer

TEST = 3000
NOTHING = "from nothing, all rows"


def main() -> None:
    """Print a line for each model and seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    options = parser.parse_args()
    right: dict[str, list[np.ndarray]] = {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            for name, model in models(Path(scratch), options.rows, seed):
                right.setdefault(name, []).append(answered(model.folder))
                score = right[name][-1].mean()
                print(f"seed {seed}, {name}: {score:.4f}, {model.seconds:.0f} s", flush=True)
    for name, of_seeds in right.items():
        mean = statistics.mean(float(each.mean()) for each in of_seeds)
        print(
            f"{name}: {mean:.4f} on {TEST:,} reviews, mean of {len(of_seeds)} seeds{beside(of_seeds, right)}"
        )


def models(root: Path, rows: int, seed: int) -> Iterator[tuple[str, Learned]]:
    """The models of one seed, as they are trained."""
    first, second = round(rows * 0.98 * 0.9), round(rows * 0.98)
    yield NOTHING, learned(root / "empty", rows, seed=seed)
    champion = learned(root / "rows", first, seed=seed)
    yield f"the first champion, {first:,} rows", champion
    again = learned(root / "rows", second, champion, seed)
    yield "retrained, 10% new", again
    yield "retrained again, 2% new", learned(root / "rows", rows, again, seed)
    yield "the first champion's head solved anew, 10% new", solved(root / "rows", second, champion, seed=seed)


def answered(model: Path) -> np.ndarray:
    """Whether each of the last TEST reviews is answered right: bool [TEST]."""
    texts, labels = (each[-TEST:] for each in read()["rotten_tomatoes"])
    found = Answerer(model, 1).answer([{"text": text} for text in texts])
    return np.array([each["sentiment"]["label"] == label for each, label in zip(found, labels, strict=True)])


def beside(of_seeds: Sequence[np.ndarray], right: Mapping[str, Sequence[np.ndarray]]) -> str:
    """The difference from the training from nothing, with its 95% interval over reviews."""
    gain = np.mean(
        [mine.astype(float) - base for mine, base in zip(of_seeds, right[NOTHING], strict=True)], 0
    )
    if not gain.any():
        return ""
    wide = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
    low, high = gain.mean() - wide, gain.mean() + wide
    return f", {gain.mean():+.4f} [{low:+.4f}, {high:+.4f}] against from nothing on all rows"


if __name__ == "__main__":
    main()
