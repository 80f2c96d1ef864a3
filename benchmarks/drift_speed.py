"""The embeddings' test of the drift check against an MMD on the full kernel, on one thread.

    python benchmarks/drift_speed.py [--rounds 3]

5,000 against 5,000 rows of 384 numbers, 200 permutations. How often either finds what moved is printed by
benchmarks/drift.py.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from measure import Line, tell

from doubleroute.drift import statistics

SEED = 17


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    generator = np.random.default_rng(SEED)
    sides = generator.standard_normal((2, 5000, 384)).astype(np.float32)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for name, test in (("ours", features), ("theirs", full_kernel)):
            begun = time.perf_counter()
            test(sides[0], sides[1], SEED)
            seconds[name].append(time.perf_counter() - begun)
    work = "drift of embeddings, 5,000 against 5,000, 200 permutations, 1,024 random features"
    tell(Line(work, "MMD on the full kernel", "s", seconds["ours"], seconds["theirs"], 8))


def features(reference: np.ndarray, current: np.ndarray, seed: int) -> float:
    """p of the project's own test."""
    return statistics.mmd(reference, current, 1024, 200, seed)[0].p


def full_kernel(reference: np.ndarray, current: np.ndarray, seed: int) -> float:
    """p of the same test on the Gaussian kernel of all pairs, also one matrix product."""
    n, pooled = len(reference), np.concatenate([reference, current])
    squares = np.square(pooled).sum(1)
    distances = squares[:, None] + squares - 2 * (pooled @ pooled.T)
    values = np.exp(distances / (-2 * np.median(distances[:100, 100:])))
    side = np.where(np.arange(len(pooled)) < n, 1 / n, -1 / len(current)).astype(np.float32)
    weights = np.random.default_rng(seed).permuted(np.broadcast_to(side, (201, len(side))), axis=1)
    weights[0] = side
    null = ((weights @ values) * weights).sum(1)
    return float((1 + (null[1:] >= null[0]).sum()) / 201)


if __name__ == "__main__":
    main()
