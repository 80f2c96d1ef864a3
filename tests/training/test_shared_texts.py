"""Tasks with the same texts share passes of the backbone."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_fit import Run

from doubleroute.config import Training
from doubleroute.data.batches import Encoded
from doubleroute.data.shared import units
from doubleroute.data.tokens import Packed
from doubleroute.modeling.model import load_model
from doubleroute.training.encode import load_split
from doubleroute.training.feed import Feed
from doubleroute.training.scoring import Truths, answers_of

OPTIONS = Training(batch_size=8)


def encoded(texts: list[int]) -> Encoded:
    """A row for each number, of two to four tokens that the number gives."""
    ids = [
        np.array([2, *([number % 12 + 4] * (number % 3 + 1)), number // 12 % 12 + 4], np.int32)
        for number in texts
    ]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in ids])])
    packed = Packed(np.concatenate(ids), starts, None, None, np.zeros(len(texts), bool))
    return Encoded(packed, np.arange(len(texts)) % 2, np.arange(len(texts)))


def planned(feed: Feed, epoch: int = 0) -> list[dict[str, list[int]]]:
    return [{task: each.tolist() for task, each in batch.items()} for batch in feed.plan(epoch)]


def test_tasks_with_the_same_texts_have_them_in_the_same_batches_once() -> None:
    rows = {"intent": encoded(list(range(60))), "slots": encoded(list(range(60)))}
    feed = Feed(rows, None, OPTIONS, 7, 0)
    assert feed.steps == 15  # as many as 120 rows without a text in common
    for epoch in range(2):
        made = planned(feed, epoch)
        assert len(made) == feed.steps
        assert all(sorted(batch["intent"]) == sorted(batch["slots"]) for batch in made)
    [batch] = [feed.batch(chosen) for chosen in feed.plan(0)[:1]]
    assert len(batch.inputs.ids) == 4
    for task, chosen in feed.plan(0)[0].items():
        for row, place in zip(chosen, batch.rows[task], strict=True):
            packed = rows[task].packed
            ids = packed.ids[packed.starts[row] : packed.starts[row + 1]]
            assert batch.inputs.ids[place, : len(ids)].tolist() == ids.tolist()


def test_one_pass_scores_all_tasks_with_the_same_rows_and_gives_their_own_answers(tiny_project: Path) -> None:
    more = ("mood", "tone")
    split = "split: {validation: 0.2, test: 0.2}"
    same = f"{{kind: classification, files: {{train: data/sentiment.csv}}, {split}}}"
    run = Run(tiny_project, *(f"tasks.{task}={same}" for task in more))
    model, rows = run.learner().model.eval(), load_split(run.encoded.path, "test")
    truths = {
        task: Truths(run.validated.path, task, "test", each, model.config.tasks[task]["labels"])
        for task, each in rows.items()
    }
    passes: list[int] = []
    with torch.no_grad():
        for parameter in model.router.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(2))
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    together = answers_of(model, rows, truths, 0)
    shared = len(passes)
    alone = {task: answers_of(model, {task: each}, truths, 0)[task] for task, each in rows.items()}
    assert list(together) == list(rows) == ["sentiment", "entities", *more]
    assert together == alone
    assert together["mood"] != together["tone"] != together["sentiment"]
    assert shared == 2
    assert len(passes) == shared + 4


def test_a_task_that_lacks_some_labels_shares_the_other_texts() -> None:
    feed = Feed({"a": encoded(list(range(40))), "b": encoded(list(range(10, 30)))}, None, OPTIONS, 7, 0)
    made = planned(feed)
    assert len(made) == feed.steps
    where = {row: number for number, batch in enumerate(made) for row in batch["a"]}
    assert len(where) == 40
    for number, batch in enumerate(made):
        assert all(where[row + 10] == number for row in batch["b"])


def test_a_sampled_part_of_two_tasks_is_a_part_of_the_texts() -> None:
    options = OPTIONS.model_copy(update={"sampling_temperature": 3.0})
    same, other = list(range(80)), list(range(80, 84))
    feed = Feed({"x": encoded(same), "small": encoded(other), "y": encoded(same)}, None, options, 7, 0)
    for batch in planned(feed, 1):
        assert sorted(batch["x"]) == sorted(batch["y"])


def test_a_batch_without_room_for_the_rows_of_a_text_keeps_the_number_of_steps() -> None:
    options = OPTIONS.model_copy(update={"batch_size": 1})
    feed = Feed({"a": encoded([1, 2]), "b": encoded([1, 2])}, None, options, 7, 0)
    assert [sum(map(len, batch.values())) for batch in planned(feed)] == [1, 1, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=60))
def test_rows_that_go_together_have_one_text_and_different_tasks(drawn: list[tuple[int, int]]) -> None:
    owner, texts = np.array(drawn).T
    found = units(texts, owner)
    assert set(found.tolist()) == set(range(found.max() + 1))
    for unit in range(found.max() + 1):
        assert len(set(texts[found == unit].tolist())) == 1
        assert len(set(owner[found == unit].tolist())) == (found == unit).sum()
    # As few units as can be: for each text as many as the task that draws it most often has rows of it.
    most = sum(max(np.bincount(owner[texts == text])) for text in set(texts.tolist()))
    assert found.max() + 1 == most


def test_a_shared_pass_gives_the_loss_and_gradients_of_two(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    rows = {"sentiment": encoded(list(range(6))), "stars": encoded(list(range(6)))}
    rows["stars"] = Encoded(rows["stars"].packed, np.linspace(0, 1, 6).astype(np.float32), np.arange(6))
    batch = Feed(rows, None, OPTIONS, 7, 0).batch({task: np.arange(6) for task in rows})
    assert len(batch.inputs.ids) == 6
    losses, gradients = [], []
    for twice in (False, True):
        keywords, places = batch.inputs.keywords, batch.rows
        if twice:
            keywords = {name: torch.cat([each, each]) for name, each in keywords.items()}
            places = {"sentiment": places["sentiment"], "stars": places["stars"] + 6}
        model.zero_grad()
        loss = model(**keywords, rows=places, targets=batch.targets).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append(
            torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
        )
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])
