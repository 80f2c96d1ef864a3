"""How the tasks of one training are mixed: whose rows are drawn, and how their losses become one step."""

import sys
from pathlib import Path

import pytest
import torch
from conftest import write_questions, write_tiny_project
from test_fit import Killed, Run, kill_after, same, weights

from doubleroute.config import load_project
from doubleroute.data.mixture import quotas
from doubleroute.errors import ConfigError
from doubleroute.training.gradients import backward


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with twice as many sentences as tweets."""
    root = write_tiny_project(tmp_path_factory.mktemp("mixing") / "project", tiny_backbone)
    tweets = root / "data" / "entities.jsonl"
    lines = tweets.read_text(encoding="utf-8").splitlines(keepends=True)
    tweets.write_text("".join(lines[:30]), encoding="utf-8")
    return root


def drawn(run: Run, epoch: int) -> dict[str, int]:
    feed = run.learner().feed
    return {task: sum(len(each[task]) for each in feed.plan(epoch)) for task in feed.names}


def killed(run: Run, folder: Path, at: int) -> None:
    """A fit that is killed after so many steps and goes on to its end."""
    (folder / "partial").mkdir(parents=True)
    learner = run.learner()
    kill_after(at, learner)
    with pytest.raises(Killed):
        learner.run(folder, folder / "partial", lambda _: None)
    torch.manual_seed(99)
    run.fit(folder)


def test_an_epoch_draws_tasks_as_the_project_says(root: Path) -> None:
    sizes = Run(root).learner().feed.sizes
    assert sum(sizes.values()) == 54
    assert drawn(Run(root), 0) == sizes
    assert drawn(Run(root, "training.sampling=uniform"), 1) == {"sentiment": 27, "entities": 27}
    run = Run(root, "training.sampling=annealed", "training.sampling_temperature=5", "training.epochs=3")
    powers = (1, 0.6, 0.2)
    assert [drawn(run, epoch) for epoch in range(3)] == [quotas(sizes, power) for power in powers]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.sampling=annealed"], "annealed needs a sampling_temperature above 1"),
        (
            ["training.sampling=uniform", "training.sampling_temperature=2"],
            "sampling_temperature has no effect on sampling: uniform",
        ),
    ],
)
def test_sampling_that_would_do_nothing_is_refused(root: Path, changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_project(root, changes)


STILL = ("training.learning_rate=1e-9", "training.head_learning_rate=1e-9", "router.learning_rate=1e-9")


def test_a_task_that_has_finished_is_drawn_a_tenth_as_often_and_all_finished_end_the_training(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, "training.epochs=9", "training.task_early_stopping=2", *STILL)
    history = run.fit(tmp_path)
    assert history["finished"] == {"sentiment": 3, "entities": 3}
    assert len(history["epochs"]) == 3  # nothing gets better after the first
    learner = run.learner()
    learner.feed.finished = {"sentiment": 2}
    sizes = learner.feed.sizes
    wanted = [sizes, sizes, quotas(sizes, 1.0, ["sentiment"])]
    rows = [
        {task: sum(len(each[task]) for each in learner.feed.plan(epoch)) for task in sizes}
        for epoch in range(3)
    ]
    assert rows == wanted
    everything = {task: sum(each[task] for each in wanted) for task in sizes}
    assert learner.feed.drawn(3 * learner.feed.steps) == (3 * learner.feed.steps, everything)


@pytest.mark.costly
@pytest.mark.parametrize("at", [5, 13])
@pytest.mark.parametrize(
    "changes",
    [
        ("training.task_weights=uncertainty", "training.head_learning_rate=1e-2"),
        ("training.sampling=annealed", "training.sampling_temperature=5"),
        ("training.task_early_stopping=1", *STILL[:1]),
    ],
    ids=["uncertainty", "annealed", "finished"],
)
def test_a_fit_that_was_killed_ends_with_the_same_weights_however_it_mixes(
    root: Path, tmp_path: Path, changes: tuple[str, ...], at: int
) -> None:
    run = Run(root, "training.epochs=3", *changes)
    whole = run.fit(tmp_path / "whole")
    killed(run, tmp_path / "killed", at)
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert whole["total_steps"] == 21 or "task_early_stopping" in changes[0]


def test_uncertainty_weighs_each_task_by_a_learned_variance_that_the_model_does_not_keep(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, "training.task_weights=uncertainty", "training.head_learning_rate=1e-2")
    plain, learner = Run(root).learner(), run.learner()
    batch = learner.feed.batch(learner.feed.plan(0)[0])
    given = {**batch.inputs.keywords, "rows": batch.rows, "targets": batch.targets}
    output = learner.model(**given)
    assert learner.objective.log_variances is not None
    with torch.no_grad():
        learner.objective.log_variances[:] = torch.tensor([0.5, -1.0])
    share = {task: len(rows) / 8 for task, rows in batch.rows.items()}
    expected = sum(
        output.losses[task] * torch.exp(torch.tensor(-s)) + share[task] * s / 2
        for task, s in (("sentiment", 0.5), ("entities", -1.0))
    )
    torch.testing.assert_close(learner.objective.backward(output, batch.targets), expected.detach())
    history = run.fit(tmp_path)
    assert all(value != 1 for value in history["task_weights"].values())
    assert weights(tmp_path).keys() == plain.model.state_dict().keys()
    assert plain.objective.as_dict() is None


def test_the_stored_answers_of_a_batch_do_not_count_as_rows_of_their_task(tiny_project: Path) -> None:
    still = ("training.dropout=0", "tasks.sentiment.head.dropout=0", "tasks.help.head.dropout=0")
    mixing = ("training.task_weights=uncertainty", "training.batch_size=32")
    given = (write_questions(tiny_project), *mixing, *still)
    learner = Run(tiny_project, *given).learner()
    mixed = next(each for each in learner.feed.plan(0) if min(map(len, each.values())) > 1)
    batch = learner.feed.batch(mixed)
    assert len(batch.rows["help"]) > len(batch.targets["help"])
    losses = learner.model(**batch.inputs.keywords, rows=batch.rows, targets=batch.targets).losses
    learner._learn(learner.model, batch, lambda _: None)
    variances = learner.objective.log_variances
    assert variances is not None
    total = sum(map(len, batch.targets.values()))
    expected = [len(batch.targets[task]) / total / 2 - losses[task].detach() for task in losses]
    torch.testing.assert_close(variances.grad, torch.stack(expected))


def test_the_plain_sum_of_gradients_is_what_the_plain_loss_gives(root: Path) -> None:
    learner = Run(root).learner()
    learner.model.eval()  # no dropout: the same pass twice
    batch = learner.feed.batch(learner.feed.plan(0)[0])
    given = {**batch.inputs.keywords, "rows": batch.rows, "targets": batch.targets}
    learner.objective.backward(learner.model(**given), batch.targets)
    learning = {name: each for name, each in learner.model.named_parameters() if each.requires_grad}
    before = {name: each.grad.clone() for name, each in learning.items() if each.grad is not None}
    for each in learning.values():
        each.grad = None
    output = learner.model(**given)
    backward(list(output.losses.values()), *learner.objective._parameters(), lambda rows: rows.sum(0))
    assert {name for name, each in learning.items() if each.grad is not None} == before.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(learning[name].grad, gradient, rtol=1e-3, atol=1e-6)


def test_where_gradients_conflict_a_method_of_torchjd_makes_neither_task_worse() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("quadprog")
    shared, own = torch.nn.Parameter(torch.tensor([1.0, 1.0])), torch.nn.Parameter(torch.tensor([2.0]))
    losses = [3 * shared[0] + shared[1], -2 * shared[0] + shared[1] + own[0]]
    backward(losses, [shared], [own], aggregation.UPGrad())
    assert shared.grad is not None
    assert shared.grad @ torch.tensor([3.0, 1.0]) > -1e-4
    assert shared.grad @ torch.tensor([-2.0, 1.0]) > -1e-4
    assert own.grad == torch.tensor([1.0])


@pytest.mark.parametrize("method", ["upgrad", "mgda", "pcgrad", "imtl_g", "aligned_mtl"])
def test_every_method_trains_and_goes_on_after_a_kill_with_the_same_weights(
    root: Path, tmp_path: Path, method: str
) -> None:
    pytest.importorskip("torchjd")
    if method == "upgrad":
        pytest.importorskip("quadprog")
    run = Run(root, f"training.gradients={method}", "training.epochs=1", "router.load_balance=0.01")
    assert run.fit(tmp_path / "whole")["epochs"][0]["train_loss"] > 0
    killed(run, tmp_path / "killed", 4)
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_without_torchjd_the_command_that_installs_it_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError, match=r"gradients: mgda needs torchjd.* -e '\.\[mtl\]'"):
        Run(root, "training.gradients=mgda")
