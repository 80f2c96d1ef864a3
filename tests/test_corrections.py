"""Holm's correction against values worked out by hand."""

import pytest

from doubleroute.corrections import holm


def test_holm_is_the_step_down_correction() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_a_weight_is_a_share_of_alpha() -> None:
    # 0.02 of the test with half of all is worth 0.04; when it is found, the others share everything.
    assert holm([0.02, 0.02, 0.5], [0.5, 0.25, 0.25]) == pytest.approx([0.04, 0.04, 0.5])
    assert holm([0.02, 0.02], [3, 1]) == pytest.approx([0.02 * 4 / 3, 0.02 * 4 / 3])
