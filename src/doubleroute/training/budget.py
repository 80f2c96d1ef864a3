"""How many steps of a fit its seconds are enough for."""

import time

from doubleroute.training.machine import compute_device

#: Steps after which it is reckoned. On a GPU the first ones load its libraries and record kernels: it goes by
#: the second half of a hundred, unless these take too much of the time.
STEPS, ON_GPU = 10, 100
#: How much of the time is too much for that.
_SHARE = 0.1
#: What is left for the validation rows.
_KEPT = 0.1


class Budget:
    """The ``seconds`` of a fit that begins, or goes on, after so many steps; None: as many as it takes.
    ``group``: others count steps beside it, and must reckon at the same one."""

    def __init__(self, seconds: float | None, step: int, group: bool) -> None:
        self.seconds, self.group = seconds, group
        self.steps = STEPS if compute_device().type == "cpu" else ON_GPU
        self.since, self.begun = step, time.monotonic()
        self.reckoned = step >= self.steps

    def affordable(self, step: int) -> int | None:
        """Asked after each step, by its number: once, how many steps there is time for in all."""
        if self.seconds is None or self.reckoned:
            return None
        spent, taken = time.monotonic() - self.begun, step - self.since
        late = not self.group and step >= STEPS and spent > _SHARE * self.seconds
        if step < self.steps and not late:
            if self.steps == ON_GPU and taken == ON_GPU // 2:
                self.since, self.begun = step, time.monotonic()
            return None
        self.reckoned = True
        return max(step, int((1 - _KEPT) * self.seconds * taken / spent))
