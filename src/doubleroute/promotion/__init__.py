"""Champion against challenger: one pure decision with its reasons.

The rule, on paired 95% intervals of the difference challenger - champion over the same test rows
(signed so that more is better, in units of each task's metric; see ``training.evaluate``). Test rows that the
champion learned from are left out of all that is compared: it answers them by heart. With fewer than 30 left
then, the difference has no interval.

1. No champion: promote, unless part 8 refuses.
2. A task that the champion answers and the challenger does not: refuse. The same weights: cannot
   tell, whatever the other parts say: there is nothing to gain and nothing to refuse.
3. Each task is a non-inferiority test (Piaggio et al. 2012, JAMA 308:2594) with margin ``max_loss``, or
   its own of ``margins``: it holds when the interval's lower end is at least -margin. It is certainly
   worse, and the challenger refused, when the whole interval lies below zero and the difference below
   -margin. Anything between: cannot tell.
4. The mean difference over the compared tasks must reach ``min_gain`` and be above zero, or zero where the
   challenger answers a task that the champion does not. One in mae or rmse, which have the label's unit,
   counts as a share of the mean of both errors, beside scores in [0, 1]. When even the mean of the upper ends
   stays below ``min_gain`` the challenger is refused; otherwise a mean that is too small is: cannot tell.
5. A slice of a task that is certainly worse and lost more than ``slice_margin``, or a task whose
   calibration error certainly grew, and by more than ``max_calibration_loss`` and what its metric certainly
   gained: refuse. "Certainly" is an
   adjusted p of 0.05 or less: McNemar's exact test or approximate randomisation (see
   ``training.comparison``), with Holm's correction (1979, Scand. J. Statist. 6:65) over all slices of all
   tasks and their calibration errors together. Slices of fewer than ``slice_rows`` rows are listed as not
   compared; how many rows a slice has is known before its answers are, so leaving it out biases nothing.
6. Answering takes more than ``max_latency_ratio`` times as long, by the median and by the fastest of the
   rounds, or the files are more than ``max_size_ratio`` times as large: refuse.
7. More than ``max_dead_experts`` of the router's experts are dead, which is to say that no task's tokens give
   them a tenth of an even share (``modeling.diagnostics``): refuse. Such a model may score well today and
   has lost what routing is for.
8. Of every version, a first one too, and only where the project asks for it: unless the gate certainly gains
   ``router_checks.min_gain`` over equal weights for all experts in one task at least (the lower end of its
   paired 95% interval above zero, the gain itself at least ``min_gain``; see ``training.router_study``), or
   when more than ``router_checks.max_dead`` of the experts are dead: refuse. The interval is each task's own:
   of a gate that is worth nothing in any of m tasks up to one in forty times m passes.

Only "promote" moves the champion. The mean must be above zero even with ``min_gain: 0``, because the
difference of two models changes its sign when they change places: on the same test rows at most one of
the two can replace the other, so equal models never take turns; where one answers more tasks, part 2 keeps
the other from coming back. A task that the champion cannot answer
is not compared and stands in nobody's way. ``max_loss``, ``margins`` and ``slice_margin`` of a task judged by
mae or rmse are in units of its label.

Many tests, and what they can see. That all tasks must hold needs no correction: the chance to promote a
challenger that is inferior in any of them is at most that of one test (Berger 1982, intersection-union).
The slices need one, because a single one refuses: of a challenger that is nowhere worse, at most one in
twenty is refused by part 5, however many slices there are and however they overlap. The price is power:
with m slices McNemar's test needs about log2(40 m) rows lost and none won back, 6 for one slice, 9 for
ten, 12 for sixty. A smaller loss passes part 5, as does every loss that is not certain: it is told, with
its numbers, and is left to part 3, which asks for proof of the opposite.
"""

from doubleroute.promotion.decision import NO_CHAMPION, Decision, Verdict, decide

__all__ = ["NO_CHAMPION", "Decision", "Verdict", "decide"]
