"""Heads fitted on pooled states of a frozen model: a first model in seconds, and where training goes on.

A linear head on states that are pooled by their mean is a linear model on the pooled states: its loss is
convex, and L-BFGS finds the best weights without a learning rate (``doubleroute.linear``). A router of kind
layers with a bottleneck lets the head see all layers so: with W the head's weights, its features are H and,
of each layer l, norm(H_l), and the coefficients C_l of these are W U V_l. The strength of the penalty is the
one with the smallest loss on the validation rows.
"""

from typing import NamedTuple

import numpy as np
import torch

from doubleroute import linear
from doubleroute.kinds.heads import RowHead, TokenHead
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.modeling.routers.layers import LayersRouter

#: Strengths of the penalty that are tried; the features vary by 1 on average. States of all layers, thousands
#: of features for thousands of rows, need the strong ones.
STRENGTHS = (30_000.0, 10_000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
#: After so many strengths without a smaller loss the weaker ones are not tried.
_PATIENCE = 2


class Examples(NamedTuple):
    """Features [n, d], targets [n, ...] as ``linear.losses`` takes them, and weights float64 [n]."""

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class Solved(NamedTuple):
    """The linear model: ``coefficients`` float32 [outputs, d], ``bias`` float32 [outputs], and the penalty's
    ``strength``."""

    coefficients: np.ndarray
    bias: np.ndarray
    strength: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Features [n, d] -> float32 [n, outputs]."""
        found = np.empty((len(features), len(self.bias)), np.float32)
        for part in linear.blocks(len(features)):
            found[part] = np.asarray(features[part], np.float32) @ self.coefficients.T + self.bias
        return found


def solve(kind: str, train: Examples, held: Examples, outputs: int) -> Solved:
    """The linear model that fits ``train`` best under the penalty that ``held`` chooses.

    ``held`` may have no rows: the strongest penalty is then taken.
    """
    best: tuple[float, float, np.ndarray] | None = None
    model, worse = None, 0
    with linear.one_thread():
        scaling = linear.scaling(train.features)
        ready, others = scaling.of(train.features), scaling.of(held.features)
        for strength in STRENGTHS:
            model = linear.fit(
                kind, ready, train.targets, train.weights, outputs, strength, model, linear.ROUGH
            )
            loss = float(linear.losses(kind, others @ model, held.targets).mean()) if len(others) else 0.0
            if best is None or loss < best[0]:
                best, worse = (loss, strength, model), 0
            else:
                worse += 1
                if worse == _PATIENCE:
                    break
    assert best is not None
    _, strength, model = best
    # Back to the features as they are: x -> (x - centre) turn, and a column of ones.
    coefficients = (scaling.turn @ model[:-1]).T
    bias = model[-1] - coefficients @ scaling.centre
    return Solved(coefficients.astype(np.float32), bias.astype(np.float32), strength)


def place(model: DoublerouteModel, task: str, solved: Solved) -> Solved:
    """Make ``model`` answer ``task`` as ``solved`` does: its head and, where there are coefficients beyond
    those of the last states, the part of its layers router that is this task's. Give what it answers as: of
    coefficients that have a larger rank than the router that of the nearest that it has room for.

    Of the factors of C = W U V the head's weights are W, U V is the best of the router's rank (Eckart & Young
    1936), and U and V are scaled to vary alike. Directions that are not needed stay as they were drawn.
    """
    head, hidden = head_of(model, task), int(model.backbone.config.hidden_size)
    weights = torch.from_numpy(solved.coefficients[:, :hidden])
    with torch.no_grad():
        head.out.weight.copy_(weights)
        head.out.bias.copy_(torch.from_numpy(solved.bias))
        query = getattr(head, "query", None)
        if query is not None:  # pooling by attention begins as the mean
            query.weight.zero_()
            query.bias.zero_()
        router = layers_router(model)
        if router is None or solved.coefficients.shape[1] == hidden:
            return solved
        number, rank = model.task_numbers[task], int(router.up.shape[-1])
        below = torch.from_numpy(solved.coefficients[:, hidden:]).double()
        left, sizes, right = torch.linalg.svd(below, full_matrices=False)
        kept = min(rank, int((sizes > sizes[0] * 1e-6).sum()))
        up = torch.linalg.pinv(weights.double()) @ (left[:, :kept] * sizes[:kept])
        down = right[:kept]
        balance = (down.std() / up.std().clamp(min=1e-12)).sqrt()
        up = (up * balance).float()
        router.up[number].zero_()
        router.up[number, :, :kept] = up
        # down: [kept, layers * hidden] -> [layers, kept, hidden]
        split = (down / balance).float().unflatten(1, (-1, hidden)).transpose(0, 1)
        is_read = slice(None) if router.open is None else torch.tensor(router.open[number])
        router.down[number, is_read, :kept] = split
        held = torch.einsum("oh,hr,lrk->olk", weights, up, split)
        whole = torch.cat([weights, held.flatten(1)], dim=1)
        return solved._replace(coefficients=whole.numpy())


def head_of(model: DoublerouteModel, task: str) -> RowHead | TokenHead:
    """The head of a task whose kind is one of LINEAR."""
    head = model.head(task)
    assert isinstance(head, RowHead | TokenHead)
    return head


def layers_router(model: DoublerouteModel) -> LayersRouter | None:
    """The model's first router of kind layers with a bottleneck."""
    found = [each for each in model.router.parts if isinstance(each, LayersRouter) and each.bottleneck]
    return found[0] if found else None
