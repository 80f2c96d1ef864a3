"""What a retraining should cost, from what the live model's training did."""

from doubleroute.config import Retraining, Training


def expected_seconds(
    training: Training,
    retraining: Retraining,
    rows: float,
    seconds: float,
    steps: int,
    heads: float | None,
    heads_alone: bool = False,
) -> float | None:
    """What a retraining whose epoch draws so many ``rows`` (what their weights sum to) should cost: the
    ``seconds`` a step of the live model's training of so many ``steps``, times the steps that there would be,
    and in mode auto no more than its budget; of solved heads as long as those of the live model took
    (``heads``), which is all that learns in mode heads, and in mode auto where ``heads_alone`` do. In
    seconds; None where that says nothing, as of steps in which heads alone learn, which cost less than whole
    ones."""
    warm = retraining.start == "champion"
    mode = (retraining.mode if warm else None) or training.mode
    if mode == "heads" or (heads_alone and mode == "auto"):
        return None if heads is None else round(heads, 1)
    if not steps or heads_alone:
        return None
    share = retraining.effort if warm else 1.0
    expected = seconds / steps * training.epochs * share * rows / training.batch_size
    if mode == "auto" and training.seconds is not None:
        expected = min(expected, training.seconds)
    return round(expected, 1)
