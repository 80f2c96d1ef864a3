"""The tests and estimates behind the drift check, against scipy, small cases by hand, and simulation."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from doubleroute.drift import statistics


def gaussians(seed: int, *shapes: tuple[int, int]) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_random_features_give_the_gaussian_kernel() -> None:
    (rows,) = gaussians(1, (60, 5))
    kernel = statistics.kernel(rows, 16384, seed=2)
    made = kernel.features(rows)
    distances = np.square(rows[:, None] - rows).sum(-1)
    bandwidth = np.median(np.sqrt(distances[np.triu_indices(60, 1)]))
    assert np.abs(made @ made.T - np.exp(-distances / (2 * bandwidth**2))).max() < 0.05
    assert np.square(made).sum(1) == pytest.approx(np.ones(60), abs=1e-5)


def test_mmd_is_the_difference_of_mean_features_and_its_effect_the_share_between_the_sides() -> None:
    before, now = gaussians(3, (300, 4), (200, 4))
    now += 1
    found, usual = statistics.mmd(before, now, 256, 200, seed=1)
    features = statistics.kernel(np.concatenate([before, now]), 256, seed=1).features
    difference = features(before).mean(0) - features(now).mean(0)
    assert found.statistic == pytest.approx(float(difference @ difference), rel=1e-4)
    assert found.p == pytest.approx(1 / 201)
    assert 0 < usual < found.statistic
    assert 0.2 < found.effect < 1


def test_mmd_p_values_of_one_source_are_uniform() -> None:
    p = []
    for seed in range(200):
        before, now = gaussians(seed, (60, 3), (40, 3))
        p.append(statistics.mmd(before, now, 64, 99, seed)[0].p)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert 0.0 < np.mean(np.array(p) <= 0.1) < 0.2


def test_mmd_sees_a_change_of_spread_that_leaves_the_means() -> None:
    before, now = gaussians(5, (400, 3), (400, 3))
    assert statistics.mmd(before, 1.5 * now, 512, 200, seed=1)[0].p < 0.01


def test_the_effect_of_a_mixture_grows_with_its_share_and_not_with_the_rows() -> None:
    (before, now, other) = gaussians(6, (8000, 8), (8000, 8), (8000, 8))
    other = 0.5 * other + 3
    effects = []
    for rows, share in ((2000, 0.1), (8000, 0.1), (8000, 0.2)):
        strange = int(rows * share)
        mixed = np.concatenate([now[: rows - strange], other[:strange]])
        effects.append(statistics.mmd(before[:rows], mixed, 512, 10, seed=1)[0].effect)
    assert effects[0] == pytest.approx(effects[1], rel=0.2)
    assert effects[2] == pytest.approx(2 * effects[1], rel=0.2)


def test_separate_points_have_effect_one_and_the_same_rows_none() -> None:
    apart = [np.zeros((20, 3)), np.full((30, 3), 100.0)]
    assert statistics.mmd(*apart, 512, 100, seed=1)[0].effect == pytest.approx(1, abs=0.1)
    (same,) = gaussians(7, (50, 3))
    assert statistics.mmd(same, same, 64, 100, seed=1)[0] == pytest.approx((0, 1, 0), abs=1e-9)


@pytest.mark.parametrize("width", [1, 4])
def test_rows_that_are_all_equal_have_not_moved(width: int) -> None:
    rows = np.full((40, width), 0.1, np.float32)
    found, _ = statistics.mmd(rows, rows[:30], 64, 100, seed=1)
    assert (found.p, found.effect) == (1, 0)
    distances, p = statistics.ks(rows, rows[:30])
    assert (distances == 0).all()
    assert (p == 1).all()


def test_ks_is_that_of_scipy_for_every_column_ties_included() -> None:
    before, now = gaussians(8, (300, 6), (170, 6))
    now[:, 1] += 0.3
    before[:, 2:], now[:, 2:] = before[:, 2:].round(1), 0.1 + now[:, 2:].round(0)
    distances, p = statistics.ks(before, now)
    for column in range(6):
        oracle = stats.ks_2samp(before[:, column], now[:, column], method="asymp")
        assert distances[column] == pytest.approx(oracle.statistic)
        assert p[column] == pytest.approx(oracle.pvalue, rel=0.2, abs=0.02)


def test_ks_seldom_finds_two_samples_of_one_coarse_source_different() -> None:
    generator = np.random.default_rng(9)
    before, now = generator.integers(0, 4, (150, 2000)), generator.integers(0, 4, (100, 2000))
    assert (statistics.ks(before, now)[1] <= 0.05).mean() <= 0.05


def test_chi_square_is_that_of_scipy_where_all_categories_are_common() -> None:
    before, now = np.array([50, 30, 20]), np.array([30, 50, 40])
    found = statistics.chi_square(before, now)
    oracle = stats.chi2_contingency([before, now], correction=False)
    assert found.statistic == pytest.approx(oracle.statistic)
    assert found.p == pytest.approx(oracle.pvalue)


def test_cramers_v_of_sides_of_one_size_is_that_of_the_table() -> None:
    before, now = np.array([60, 40]), np.array([20, 80])
    found = statistics.chi_square(before, now)
    assert found.effect == pytest.approx(np.sqrt(found.statistic / 200))
    assert statistics.chi_square(before, 10 * now).effect == pytest.approx(found.effect)
    assert statistics.chi_square(np.array([5, 0]), np.array([0, 5])).effect == pytest.approx(1)


def test_rare_categories_are_taken_together() -> None:
    before, now = np.array([400, 400, 1, 2, 3, 0, 4]), np.array([400, 400, 2, 1, 2, 5, 0])
    together = statistics.chi_square(np.array([400, 400, 10]), np.array([400, 400, 10]))
    assert statistics.chi_square(before, now).p == pytest.approx(together.p)


def test_a_single_category_has_not_moved() -> None:
    assert statistics.chi_square(np.array([10, 0]), np.array([70, 0])) == (0, 1, 0)


def test_many_rare_categories_give_false_alarms_at_the_promised_rate() -> None:
    generator = np.random.default_rng(10)
    shares = 1 / np.arange(1, 101) / (1 / np.arange(1, 101)).sum()
    p = [
        statistics.chi_square(generator.multinomial(300, shares), generator.multinomial(150, shares)).p
        for _ in range(1000)
    ]
    assert 0.03 < np.mean(np.array(p) <= 0.05) < 0.07


def answers(generator: np.random.Generator, rows: int, shares: list[float], right: float) -> np.ndarray:
    """Predictions and labels of so many rows, [2, rows]; wrong answers fall on any other label."""
    k = len(shares)
    labels = generator.choice(k, rows, p=shares)
    wrong = (labels + generator.integers(1, k, rows)) % k
    return np.stack([np.where(generator.random(rows) < right, labels, wrong), labels])


def table(pairs: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(pairs[0] * k + pairs[1], minlength=k * k).reshape(k, k)


def test_shares_of_labels_come_back_from_predictions_and_their_intervals_hold() -> None:
    generator, truth, inside = np.random.default_rng(11), np.array([0.1, 0.3, 0.6]), 0
    for seed in range(60):
        confusion = table(answers(generator, 1500, [0.5, 0.3, 0.2], 0.8), 3)
        predicted = np.bincount(answers(generator, 800, list(truth), 0.8)[0], minlength=3)
        shares = statistics.bbse(confusion, predicted, seed)
        assert shares.value.sum() == pytest.approx(1)
        assert np.abs(shares.value - truth).max() < 0.15
        inside += int(((shares.low <= truth) & (truth <= shares.high)).sum())
    assert 0.88 < inside / 180 <= 1


def test_a_model_that_guesses_says_nothing_about_shares_of_labels() -> None:
    generator = np.random.default_rng(12)
    shares = statistics.bbse(
        table(answers(generator, 900, [0.5, 0.3, 0.2], 1 / 3), 3), np.array([5, 5, 5]), 1
    )
    assert shares.why is not None
    assert "near singular" in shares.why
    assert np.isnan(shares.value).all()


def test_a_label_that_many_resamples_lack_has_wide_bounds() -> None:
    shares = statistics.bbse(np.array([[90, 0], [8, 2]]), np.array([80, 20]), 1)
    assert shares.why is None
    assert np.isfinite([*shares.low, *shares.high]).all()
    assert shares.high[1] - shares.low[1] > 0.2


def all_at_once(confusion: np.ndarray, predicted: np.ndarray, seed: int) -> np.ndarray:
    """The bootstrap of ``bbse`` with every whole matrix in memory: [1 + resamples, k]."""
    generator, k = np.random.default_rng(seed), len(predicted)
    rows, resamples = (confusion.sum(), predicted.sum()), 1000 if k <= 20 else 200
    tables = generator.multinomial(rows[0], confusion.ravel() / rows[0], resamples).reshape(-1, k, k)
    drawn = generator.multinomial(rows[1], predicted / rows[1], resamples)
    tables, drawn = np.concatenate([confusion[None], tables]), np.concatenate([predicted[None], drawn])
    given = tables / np.maximum(tables.sum(1, keepdims=True), 1)
    shares = np.maximum(np.linalg.solve(given + 1e-9 * np.eye(k), drawn[..., None] / rows[1])[..., 0], 0)
    return np.asarray(shares / shares.sum(1, keepdims=True))


@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_resamples_of_the_filled_cells_alone_are_those_of_the_whole_matrix(k: int, turned: bool) -> None:
    generator = np.random.default_rng(14)
    confusion = table(answers(generator, 2000, [1 / k] * k, 0.8), k)
    if turned:  # the last cell is empty
        confusion = np.roll(confusion, 1, axis=1)
        confusion[-1, -1] = 0
    predicted = generator.integers(1, 20, k)
    found, wanted = statistics.bbse(confusion, predicted, 3), all_at_once(confusion, predicted, 3)
    assert found.why is None
    assert (found.value == wanted[0]).all()
    assert (np.stack([found.low, found.high]) == np.percentile(wanted[1:], [2.5, 97.5], axis=0)).all()


@pytest.mark.parametrize("right", [0.97, 0.0])
def test_the_memory_of_many_labels_is_that_of_a_few_matrices(right: float) -> None:
    k = 200
    labels = np.arange(3 * k) % k
    predicted = np.where(np.arange(3 * k) < right * 3 * k, labels, 0)
    confusion = table(np.stack([predicted, labels]), k)
    tracemalloc.start()
    with threadpool_limits(1):  # threads that wait for each other take minutes on a busy machine
        shares = statistics.bbse(confusion, np.bincount(predicted, minlength=k), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (shares.why is None) == (right > 0)
    assert peak < 80e6  # the resamples whole would be twice 64e6, as counts and as shares


def test_a_label_without_reference_rows_has_no_estimated_share() -> None:
    shares = statistics.bbse(np.array([[5, 0], [0, 0]]), np.array([3, 3]), 1)
    assert shares.why == "a label has no reference row with a prediction"


def test_expected_accuracy_follows_the_confidence_and_its_interval_holds() -> None:
    generator, inside = np.random.default_rng(13), 0
    for _ in range(100):
        chances = generator.beta(4, 2, 800), generator.beta(2, 2, 500)
        right = [generator.random(len(each)) < each for each in chances]
        shown = [each**0.3 for each in chances]  # the model is far too sure of itself
        found = statistics.expected_accuracy(shown[0], right[0], shown[1])
        assert found is not None
        assert found.value == pytest.approx(0.5, abs=0.1)
        inside += bool(found.low <= right[1].mean() <= found.high)
    assert inside >= 90


def test_expected_accuracy_of_the_reference_is_its_accuracy() -> None:
    generator = np.random.default_rng(14)
    sure, right = generator.random(500), generator.random(500) < 0.7
    found = statistics.expected_accuracy(sure, right, sure)
    assert found is not None
    assert found.value == pytest.approx(right.mean(), abs=0.003)


@pytest.mark.parametrize("always", [True, False])
def test_expected_accuracy_is_defined_where_nothing_varies(always: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = statistics.expected_accuracy(np.ones(50), np.full(50, always), np.ones(9))
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx(float(always), abs=0.05)


def test_there_is_no_expected_accuracy_without_rows() -> None:
    assert statistics.expected_accuracy(np.zeros(0), np.zeros(0, bool), np.ones(3)) is None
    assert statistics.expected_accuracy(np.ones(3), np.ones(3, bool), np.zeros(0)) is None
