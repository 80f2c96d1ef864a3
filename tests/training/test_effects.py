"""What may be said of a difference over seeds and rows: found where it is, not where it is not."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import ttest_rel

from doubleroute.training.effects import ALPHA, Effect, effects, judged, negative_transfer, routing
from doubleroute.training.intervals import Sample

COUPLES = [("router", "shared"), ("router", "dense"), ("router", "single"), ("shared", "single")]
NAMES = ("single", "shared", "dense", "router")


def samples_of(
    right: Mapping[str, np.ndarray], resamples: int = 100, seed: int = 0
) -> dict[str, list[Sample]]:
    """Samples of the accuracy of models from who is right where: bool [seeds, rows] by name."""
    rows = next(iter(right.values())).shape[1]
    places = np.random.default_rng(seed).integers(0, rows, (resamples, rows))
    return {
        name: [
            Sample(
                rows,
                {"accuracy": float(one.mean())},
                [{"accuracy": value} for value in one[places].mean(1)],
                {},
            )
            for one in each.astype(float)
        ]
        for name, each in right.items()
    }


def drawn(
    gains: Mapping[str, float], seeds: int, rows: int, noise: float, draw: np.random.Generator
) -> dict[str, list[Sample]]:
    """Made-up models that are ``gains`` better than another on average: rows are hard or easy for all, each
    model has rows that lie to it, and each seed is lucky or not by ``noise``."""
    hard = draw.normal(0, 1.2, rows)
    right = {}
    for name in NAMES:
        latent = hard + draw.normal(0, 0.3, rows) + draw.normal(0, 0.5, (seeds, rows))
        right[name] = latent + draw.normal(0, noise, (seeds, 1)) + 1 + gains.get(name, 0.0) > 0
    return samples_of(right, seed=int(draw.integers(1 << 30)))


def verdicts(samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    found = effects(samples, COUPLES, "accuracy", True)
    return [each["verdict"] for each in judged({"mood": list(zip(COUPLES, found, strict=True))})["mood"]]


@pytest.mark.parametrize(
    ("seeds", "noise"),
    [(3, 0.2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((2, 0.2), (3, 0.02), (5, 0.2)))],
)
def test_where_nothing_is_different_no_verdict_falls_in_19_of_20_comparisons(
    seeds: int, noise: float
) -> None:
    draw, times = np.random.default_rng(seeds), 300
    alarms = sum(set(verdicts(drawn({}, seeds, 400, noise, draw))) != {"cannot tell"} for _ in range(times))
    # 15 are promised at most; 25 or more of 300 at a rate of one in 20 would be one chance in 100.
    assert alarms < 25


def test_one_interval_covers_no_difference_in_19_of_20_cases() -> None:
    draw, times = np.random.default_rng(8), 300
    missed = 0
    for _ in range(times):
        effect = effects(drawn({}, 3, 400, 0.2, draw), COUPLES[:1], "accuracy", True)[0]
        missed += effect.p <= ALPHA
        assert (effect.p <= ALPHA) == (abs(effect.value) >= effect.reach(ALPHA))
    assert missed < 25


def test_a_real_gain_is_found_and_named() -> None:
    draw = np.random.default_rng(1)
    found = [verdicts(drawn({"router": 0.8}, 3, 800, 0.05, draw)) for _ in range(20)]
    assert sum(each[:3] == ["helps"] * 3 for each in found) >= 19
    assert all(each[3] == "cannot tell" for each in found)


def test_a_loss_against_a_model_of_its_own_is_negative_transfer() -> None:
    draw = np.random.default_rng(2)
    samples = drawn({"single": 0.8, "router": 0.8}, 3, 800, 0.05, draw)
    found = effects(samples, COUPLES, "accuracy", True)
    compared = judged({"mood": list(zip(COUPLES, found, strict=True))})
    assert compared["mood"][3]["verdict"] == "hurts"
    assert compared["mood"][3]["high"] < 0
    assert negative_transfer(compared) == [{"task": "mood", "model": "shared"}]


def test_less_is_better_where_the_metric_is_an_error() -> None:
    samples = {
        name: [Sample(50, {"mae": value}, [{"mae": value + step} for step in (-0.01, 0.0, 0.01)], {})] * 2
        for name, value in (("a", 1.0), ("b", 2.0))
    }
    assert effects(samples, [("a", "b")], "mae", higher_is_better=False)[0].value == 1.0


def test_rows_that_decide_nothing_leave_the_paired_t_test_over_seeds() -> None:
    ours, theirs = [0.80, 0.83, 0.81], [0.70, 0.78, 0.79]
    samples = {
        name: [Sample(1000, {"mae": score}, [{"mae": score}] * 10, {}) for score in scores]
        for name, scores in (("a", ours), ("b", theirs))
    }
    effect = effects(samples, [("a", "b")], "mae", False)[0]
    assert effect.rows == pytest.approx(0, abs=1e-30)
    assert effect.p == pytest.approx(ttest_rel(ours, theirs).pvalue, rel=1e-6)


@pytest.mark.parametrize(("won", "rows"), [(1, 1), (5, 5), (4, 20), (4, 100)])
def test_a_handful_of_rows_won_helps_nothing(won: int, rows: int) -> None:
    right = np.tile(np.arange(rows) < won, (2, 1))
    samples = samples_of({"router": right, "shared": np.zeros_like(right)})
    effect = effects(samples, COUPLES[:1], "accuracy", True)[0]
    assert effect.value == pytest.approx(won / rows)
    assert effect.p > ALPHA


def test_the_spread_of_all_models_tells_more_than_that_of_two() -> None:
    draw = np.random.default_rng(3)
    samples = drawn({}, 3, 400, 0.2, draw)
    two = {name: samples[name] for name in ("router", "shared")}
    assert effects(samples, COUPLES[:1], "accuracy", True)[0].freedom == 6
    assert effects(two, COUPLES[:1], "accuracy", True)[0].freedom == 2


def test_verdicts_are_corrected_for_all_differences_of_all_tasks() -> None:
    effect = Effect(0.02, 0.0, 10, 1e-4, 100_000)  # p = 0.0455
    one = judged({"a": [(("router", "shared"), effect)]})["a"][0]
    many = judged({name: [(("router", "shared"), effect)] for name in "abc"})["b"][0]
    assert one["p"] == many["p"] == pytest.approx(0.0455, abs=1e-4)
    assert one["verdict"] == "helps"
    assert many["p_holm"] == pytest.approx(3 * one["p"])
    assert many["verdict"] == "cannot tell"
    assert many["low"] > 0, "the interval is that of one difference"


def test_a_metric_that_is_undefined_for_a_seed_cannot_tell() -> None:
    nan = float("nan")
    samples = {
        name: [Sample(5, {"spearman": value}, [{"spearman": value}] * 4, {}) for value in scores]
        for name, scores in (("a", (0.5, nan)), ("b", (0.4, 0.3)), ("c", (0.1, 0.2)))
    }
    couples = [("a", "b"), ("b", "c")]
    found = judged({"t": list(zip(couples, effects(samples, couples, "spearman", True), strict=True))})["t"]
    assert (found[0]["value"], found[0]["p"], found[0]["verdict"]) == (None, 1.0, "cannot tell")
    assert found[1]["value"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("shared", "dense", "verdict", "word"),
    [
        ("helps", "helps", "helps", "than dense"),
        ("helps", "cannot tell", "cannot tell", "its parameters alone may do it"),
        ("helps", "hurts", "cannot tell", "its parameters alone may do it"),
        ("cannot tell", "helps", "cannot tell", "not certainly better than shared"),
        ("hurts", "helps", "hurts", "certainly worse than shared"),
    ],
)
def test_routing_helps_where_it_is_better_than_no_router_and_than_its_parameters(
    shared: str, dense: str, verdict: str, word: str
) -> None:
    found, why = routing(shared, dense)  # type: ignore[arg-type]
    assert found == verdict
    assert word in why
