"""Quick models against scikit-learn's and small cases by hand."""

from pathlib import Path

import numpy as np
import pytest
from clouds import points

from doubleroute import linear

CLOUD = points(300)
CLASSES = np.arange(300) % 3


@pytest.fixture
def ready() -> np.ndarray:
    return linear.scaling(CLOUD).of(CLOUD)


@pytest.mark.parametrize(
    ("said", "found"), [("max 100000", None), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1)]
)
def test_a_containers_quota_bounds_the_processors(
    said: str, found: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cpu.max"
    place.write_text(f"{said}\n")
    monkeypatch.setattr(linear, "_CPU_MAX", tmp_path / "none")
    all_of_them = linear.cores()
    monkeypatch.setattr(linear, "_CPU_MAX", place)
    assert linear.cores() == min(all_of_them, found or all_of_them)


def test_scaled_features_vary_by_one_on_average(ready: np.ndarray) -> None:
    assert ready.shape == (300, 9)
    assert (ready[:, -1] == 1).all()
    assert np.square(ready[:, :-1]).mean() == pytest.approx(1, rel=1e-3)
    assert np.abs(ready[:, :-1].mean(axis=0)).max() < 1e-4


def test_features_that_do_not_vary_become_zeros() -> None:
    same = np.ones((5, 3), np.float32)
    assert np.abs(linear.scaling(same).of(same)[:, :-1]).max() == 0


def test_weighted_classification_is_that_of_scikit_learn(ready: np.ndarray) -> None:
    from sklearn.linear_model import LogisticRegression

    weights = np.random.default_rng(1).poisson(1, 300)
    found = linear.fit("classification", ready, CLASSES, weights, 3, 2.0, precision=1e-10)
    oracle = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-8, max_iter=1000)
    oracle.fit(ready, CLASSES, sample_weight=weights)
    np.testing.assert_allclose(
        linear.probabilities("classification", ready @ found), oracle.predict_proba(ready), atol=2e-3
    )


def test_each_label_of_a_set_is_a_logistic_regression_of_its_own(ready: np.ndarray) -> None:
    from sklearn.linear_model import LogisticRegression

    wanted = np.stack([CLASSES == 0, CLASSES != 1], axis=1).astype(np.float32)
    found = linear.fit("multilabel", ready, wanted, np.ones(300), 2, 2.0, precision=1e-10)
    for label in range(2):
        oracle = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-8, max_iter=1000)
        oracle.fit(ready, wanted[:, label])
        np.testing.assert_allclose(
            linear.probabilities("multilabel", ready @ found)[:, label],
            oracle.predict_proba(ready)[:, 1],
            atol=2e-3,
        )


def test_numbers_are_learned_by_ridge_whatever_their_mean(ready: np.ndarray) -> None:
    wanted = 1000 + ready[:, 0].astype(np.float64) * 3
    found = linear.fit("regression", ready, wanted, np.ones(300), 1, 0.01)
    assert np.abs(ready @ found - wanted[:, None]).max() < 0.01


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_slopes_are_those_of_the_losses(kind: str) -> None:
    generator = np.random.default_rng(2)
    logits = generator.standard_normal((4, 1 if kind == "regression" else 3))
    targets = {
        "classification": np.array([0, 2, 1, 1]),
        "multilabel": generator.integers(0, 2, (4, 3)).astype(np.float32),
        "regression": generator.standard_normal(4),
    }[kind]
    step, slopes = 1e-6, linear.slopes(kind, logits, targets)
    # The loss of a set is a mean over its labels; half the squared error has the residual as its slope.
    share = {"classification": 1.0, "multilabel": 3.0, "regression": 0.5}[kind]
    for column in range(logits.shape[1]):
        moved = logits.copy()
        moved[:, column] += step
        change = linear.losses(kind, moved, targets) - linear.losses(kind, logits, targets)
        np.testing.assert_allclose(share * change / step, slopes[:, column], atol=1e-4)


def test_without_rows_a_model_says_nothing(ready: np.ndarray) -> None:
    assert not linear.fit("classification", ready, CLASSES, np.zeros(300), 3, 1.0).any()


def test_noise_gets_the_largest_penalty(ready: np.ndarray) -> None:
    held = np.arange(300) % 5 == 0
    noise = np.random.default_rng(3).integers(0, 3, 300)
    assert linear.penalty("classification", ready, noise, 3, held) == max(linear.PENALTIES)


def test_a_fit_that_begins_at_the_solution_stays_there(ready: np.ndarray) -> None:
    once = linear.fit("classification", ready, CLASSES, np.ones(300), 3, 2.0, precision=1e-9)
    again = linear.fit("classification", ready, CLASSES, np.ones(300), 3, 2.0, once, precision=1e-9)
    assert np.abs(once - again).max() < 1e-2


def test_jobs_side_by_side_give_their_results_in_order() -> None:
    jobs = [lambda number=number: number**2 for number in range(20)]
    assert list(linear.side_by_side(jobs)) == [number**2 for number in range(20)]
