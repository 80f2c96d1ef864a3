"""When it is reckoned how many steps of a fit there is time for, and what is told of those before."""

import time
from collections.abc import Callable

import pytest
import torch

from doubleroute.errors import ConfigError
from doubleroute.hardware import tokens_on_gpu
from doubleroute.training.budget import ON_GPU, Budget
from doubleroute.training.history import History
from doubleroute.training.losses import Losses


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def reckoned(
    budget: Budget, pass_time: Callable[[float], None], seconds: list[float]
) -> tuple[int, int | None]:
    """At which step, of steps that take so long, and what."""
    for step, each in enumerate(seconds, start=1):
        pass_time(each)
        found = budget.affordable(step)
        if found is not None:
            return step, found
    return 0, None


def test_on_a_processor_ten_steps_tell(pass_time: Callable[[float], None]) -> None:
    assert reckoned(Budget(100.0, 0, group=False), pass_time, [0.5] * 20) == (10, 180)
    assert reckoned(Budget(None, 0, group=False), pass_time, [0.5] * 20) == (0, None)
    assert reckoned(Budget(1.0, 0, group=False), pass_time, [0.5] * 20) == (10, 10)


def on_gpu(seconds: float, group: bool = False) -> Budget:
    budget = Budget(seconds, 0, group)
    budget.steps = ON_GPU
    return budget


def test_on_a_gpu_the_first_half_of_a_hundred_does_not_count(pass_time: Callable[[float], None]) -> None:
    slow_at_first = [*([0.01] * 50), *([0.005] * 60)]
    assert reckoned(on_gpu(10.0), pass_time, slow_at_first) == (100, 1800)


def test_a_hundred_slow_steps_are_not_waited_for_but_in_a_group(pass_time: Callable[[float], None]) -> None:
    assert reckoned(on_gpu(60.0), pass_time, [1.0] * 110) == (10, 54)
    assert reckoned(on_gpu(60.0, group=True), pass_time, [1.0] * 110) == (100, 100)


def test_losses_that_are_read_together_are_noted_with_the_time_of_their_steps(
    pass_time: Callable[[float], None],
) -> None:
    history = History(total=8)
    losses = Losses(history)
    losses.together = 4
    points = []
    for step in range(1, 9):
        pass_time(0.125)
        points += losses.add(step, torch.tensor(float(step)), 10, 1e-3)
        assert len(points) == step // 4 * 4
    assert [point["loss"] for point in points] == [*range(1, 9)]
    assert [point["seconds"] for point in points] == [0.125 * step for step in range(1, 9)]
    assert {point["tokens_per_second"] for point in points} == {80.0}


def test_a_loss_that_is_no_number_is_told_with_its_step(pass_time: Callable[[float], None]) -> None:
    losses = Losses(History(total=8))
    losses.together = 4
    losses.add(1, torch.tensor(1.0), 10, 1e-3)
    losses.add(2, torch.tensor(float("nan")), 10, 1e-3)
    pass_time(1.5)  # slow steps are not waited for
    with pytest.raises(ConfigError, match="the loss became nan at step 2;"):
        losses.add(3, torch.tensor(1.0), 10, 1e-3)


def test_long_rows_get_smaller_passes() -> None:
    assert [tokens_on_gpu(longest) for longest in (0, 128, 512, 8192)] == [16_384, 16_384, 8192, 4096]
