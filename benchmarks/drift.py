"""Does the drift check find what moved, and how often does it cry wolf?

    python benchmarks/drift.py CACHE [--repeats 200] [--seed 17]

Prints, on one thread: false alarms of the whole check on fresh samples of Rotten Tomatoes; how often it
finds a part of IMDB among them; and how far off shares of labels and accuracy are that were estimated
without labels. The champion is a linear model on embeddings of 1,000 reviews that take no part in the
rest. CACHE keeps the embeddings. What the embeddings' test costs is in drift_speed.py.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from drift_speed import features, full_kernel
from reviews import Reviews, load
from scipy.special import expit

from doubleroute.config import Drift
from doubleroute.drift import statistics
from doubleroute.drift.detectors import measure
from doubleroute.drift.sample import Sample, TaskRows

LEARNED = 1000  # reviews that the champion learns from
Part = tuple[Reviews, np.ndarray]


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    reviews = load(options.cache)
    films, other = reviews["rotten_tomatoes"], reviews["imdb"]
    champion = learned(films)
    generator = np.random.default_rng(options.seed)
    print("\nthe whole check: 5 tests of the inputs, 3 of the task, alpha 0.05")
    for rows, share in ((1000, 0.0), (1000, 0.1), (2000, 0.1), (3500, 0.1), (1000, 1.0), (2000, 1.0)):
        repeats = options.repeats if share == 0 else max(1, options.repeats // 4)
        found(films, other, champion, rows, share, repeats, generator)
    power(films, other, generator)
    estimates(films, other, champion, generator)


def learned(films: Reviews) -> np.ndarray:
    """A linear champion by ridge regression: weights [385], the last one the constant."""
    design = np.c_[films.embeddings[:LEARNED], np.ones(LEARNED)].astype(np.float64)
    target = np.where(np.array(films.labels[:LEARNED]) == "1", 1.0, -1.0)
    return np.asarray(np.linalg.solve(design.T @ design + np.eye(385), design.T @ target))


def sample(parts: list[Part], champion: np.ndarray) -> Sample:
    """Rows of the reviews as a sample, labelled and answered."""
    embeddings = np.concatenate([reviews.embeddings[rows] for reviews, rows in parts])
    texts = [reviews.texts[row] for reviews, rows in parts for row in rows]
    labels = [reviews.labels[row] for reviews, rows in parts for row in rows]
    positive = expit(3 * (embeddings @ champion[:-1] + champion[-1])).tolist()
    answers: list[dict[str, Any] | None] = [
        {"label": "1" if p > 0.5 else "0", "probabilities": {"0": 1 - p, "1": p}} for p in positive
    ]
    return Sample(
        embeddings=embeddings,
        texts=texts,
        tokens=np.concatenate([reviews.tokens[rows] for reviews, rows in parts]),
        unknown=np.concatenate([reviews.unknown[rows] for reviews, rows in parts]),
        segments={},
        times=[None] * len(texts),
        places=[str(row) for row in range(len(texts))],
        tasks={"sentiment": TaskRows("classification", ["0", "1"], np.arange(len(texts)), labels, answers)},
    )


def found(
    films: Reviews,
    other: Reviews,
    champion: np.ndarray,
    rows: int,
    share: float,
    repeats: int,
    generator: np.random.Generator,
) -> None:
    """How often ``rows`` against as many, with a share of IMDB among the current ones, count as moved."""
    hits: dict[str, int] = {"check": 0}
    start = time.perf_counter()
    strange = round(share * rows)
    for repeat in range(repeats):
        order = LEARNED + generator.permutation(len(films.texts) - LEARNED)
        arrived = generator.permutation(len(other.texts))[:strange]
        reference = sample([(films, order[:rows])], champion)
        current = sample([(films, order[rows : 2 * rows - strange]), (other, arrived)], champion)
        document = measure(reference, current, Drift(), repeat)
        hits["check"] += document["verdict"] == "moved"
        for test in document["tests"]:
            hits[test["what"]] = hits.get(test["what"], 0) + (test["verdict"] == "moved")
    seconds = (time.perf_counter() - start) / repeats
    low, high = wilson(hits["check"], repeats)
    what = "false alarms" if share == 0 else f"{share:.0%} IMDB found"
    parts = ", ".join(f"{name} {count}" for name, count in hits.items() if name != "check")
    print(
        f"{rows:,} against {rows:,}: {what} {hits['check']} of {repeats} "
        f"({hits['check'] / repeats:.1%}, 95% interval {low:.1%} to {high:.1%}); {seconds:.2f} s a check\n"
        f"    by test: {parts}"
    )


def power(films: Reviews, other: Reviews, generator: np.random.Generator) -> None:
    """Of 100 samples with 4% of IMDB, how many random features and the full kernel find at p <= 0.05."""
    rows, strange, hits = 1000, 40, np.zeros(2, int)
    for repeat in range(100):
        order = generator.permutation(len(films.texts))
        arrived = other.embeddings[generator.permutation(len(other.texts))[:strange]]
        reference = films.embeddings[order[:rows]]
        current = np.concatenate([films.embeddings[order[rows : 2 * rows - strange]], arrived])
        hits += [test(reference, current, repeat) <= 0.05 for test in (features, full_kernel)]
    print(
        f"\nembeddings alone, 4% IMDB in {rows:,} rows, p <= 0.05: random features {hits[0]} of 100, full "
        f"kernel {hits[1]} of 100"
    )


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927)."""
    z, share = statistics.Z95, hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def estimates(films: Reviews, other: Reviews, champion: np.ndarray, generator: np.random.Generator) -> None:
    """Shares of labels and accuracy, estimated from answers alone, beside what the labels say."""
    order = LEARNED + generator.permutation(len(films.texts) - LEARNED)
    labels = np.array(films.labels)
    positive, negative = (order[2000:][labels[order[2000:]] == each] for each in ("1", "0"))
    reference = sample([(films, order[:2000])], champion)
    cases: dict[str, list[Part]] = {
        "Rotten Tomatoes, 1,000 rows": [(films, order[2000:3000])],
        "Rotten Tomatoes, 80% positive": [(films, np.r_[positive[:800], negative[:200]])],
        "IMDB, 1,000 rows": [(other, np.arange(1000))],
    }
    print("\nwithout labels: estimated (95% interval), and what the labels say")
    for name, parts in cases.items():
        current = sample(parts, champion)
        shares = measure(reference, current, Drift(), 17)["label_shift"]["sentiment"]["labels"]["1"]
        sure, right = confidence(reference)
        now, truth = confidence(current)
        estimate = statistics.expected_accuracy(sure, right, now)
        assert estimate is not None
        share = np.mean([label == "1" for label in current.tasks["sentiment"].labels])
        print(
            f"{name}: share of positive {shares['current']:.3f} ({shares['low']:.3f} to "
            f"{shares['high']:.3f}), {share:.3f}; accuracy {estimate.value:.3f} ({estimate.low:.3f} to "
            f"{estimate.high:.3f}), {truth.mean():.3f}"
        )


def confidence(given: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the answers [n], and whether they are right [n]."""
    task = given.tasks["sentiment"]
    answers = [answer for answer in task.answers if answer is not None]
    sure = np.array([max(answer["probabilities"].values()) for answer in answers])
    pairs = zip(answers, task.labels, strict=True)
    return sure, np.array([answer["label"] == label for answer, label in pairs])


if __name__ == "__main__":
    main()
