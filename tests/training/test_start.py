"""Fits that begin with the weights of an earlier model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import relabel, write_tiny_project
from safetensors.torch import load_file
from test_fit import Killed, Run, kill_after, same, weights

from doubleroute.data.tables import read_validated
from doubleroute.errors import ConfigError, InputError, ModelError
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import load_model
from doubleroute.training.ladder import fit, store
from doubleroute.training.plan import Plan, Rung, Start, fit_inputs
from doubleroute.training.start import refuse_another
from doubleroute.training.variants import variant

TEXTS = [{"text": "the good model reads 42 lines"}, {"text": "this bad film and 42 plain words"}]


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("start") / "project", tiny_backbone)


@pytest.fixture(scope="module")
def champion(root: Path) -> Start:
    """The tiny project's model after its two epochs, all but the embeddings learned."""
    folder = root.parent / "champion"
    Run(root, "training.trainable=2", "router.learning_rate=1e-2").fit(folder)
    return Start(folder / "model", "champion")


def begun(run: Run, plan: Plan) -> dict[str, torch.Tensor]:
    return dict(run.learner(plan=plan).model.state_dict())


def test_it_begins_with_the_champion_s_weights_and_trains_the_share_of_effort(
    root: Path, champion: Start
) -> None:
    run = Run(root, "retraining.effort=0.25")
    learner, fresh = run.learner(plan=Plan(champion)), run.learner()
    old = load_file(champion.folder / "model.safetensors")
    state = learner.model.state_dict()
    assert state.keys() == old.keys()
    assert all(torch.equal(value, old[name]) for name, value in state.items())
    assert learner.total == round(0.25 * fresh.total)
    assert Run(root, "retraining.effort=0.001").learner(plan=Plan(champion)).total == 1


def test_what_has_learned_before_learns_at_a_share_of_its_rate_and_a_fresh_head_does_not(
    root: Path, champion: Start
) -> None:
    change = "tasks.sentiment.labels=[pos, mixed, neg]"
    run, plan = Run(root, "retraining.rate=0.1", change), Plan(champion)

    def rates(plan: Plan) -> dict[str, float]:
        learner = run.learner(plan=plan)
        names = {id(value): name for name, value in learner.model.named_parameters()}
        groups = zip(learner.optimizer.param_groups, learner.rates, strict=True)
        return {names[id(each)]: rate for group, rate in groups for each in group["params"]}

    before, after = rates(Plan()), rates(plan)
    assert before.keys() == after.keys()
    for name, rate in after.items():
        assert rate == pytest.approx(before[name] * (1 if "sentiment" in name else 0.1))


def test_another_champion_is_followed_by_other_rows(root: Path, champion: Start) -> None:
    run = Run(root)
    plans = [
        run.learner(plan=plan).feed.plan(0)[0]["sentiment"].tolist()
        for plan in (Plan(), Plan(champion), Plan(champion), Plan(Start(champion.folder, "another")))
    ]
    assert plans[1] == plans[2]
    assert plans[0] != plans[1] != plans[3]


@pytest.mark.costly
@pytest.mark.parametrize("router", ["{kind: experts, experts: 2, bottleneck: 4}", "{kind: mlp, width: 4}",
                                    "{kind: linear}"])  # fmt: skip
def test_a_new_task_begins_fresh_and_takes_nothing_from_the_others(
    root: Path, tmp_path: Path, router: str
) -> None:
    old = Run(root, f"router={router}", "training.epochs=1")
    old.fit(tmp_path)
    more = "tasks={tone: {kind: classification, files: {train: data/sentiment.csv}}, " + (
        "entities: {kind: tagging, files: {train: data/entities.jsonl}}, "
        "sentiment: {kind: classification, files: {train: data/sentiment.csv}}}"
    )
    run = Run(root, f"router={router}", more)
    before, state = weights(tmp_path), begun(run, Plan(Start(tmp_path / "model", "x")))
    fresh = run.learner().model.state_dict()
    for name, value in state.items():
        if "tone" in name:
            assert torch.equal(value, fresh[name])
        elif name in ("router.up", "router.task_gate") and len(value) == 3:
            assert not value[0].any()
            assert before[name].any()
            assert torch.equal(value[[2, 1]], before[name])  # the champion has sentiment before entities
        else:
            assert torch.equal(value, before[name])


def test_of_a_changed_set_of_labels_the_known_ones_are_taken(root: Path, champion: Start) -> None:
    run = Run(root, "tasks.sentiment.labels=[pos, mixed, neg]")
    before, state = weights(champion.folder.parent), begun(run, Plan(champion))
    fresh = run.learner().model.state_dict()
    for part in ("weight", "bias"):
        name = f"heads.sentiment.out.{part}"
        assert torch.equal(state[name][[2, 0]], before[name])  # the champion's order: neg, pos
        assert torch.equal(state[name][1], fresh[name][1])


def test_of_a_crf_the_transitions_between_known_tags_are_taken(root: Path, tmp_path: Path) -> None:
    crf, alone = "tasks.entities.head.crf=true", "router={kind: none}"
    Run(root, crf, alone, "training.epochs=1").fit(tmp_path)
    run = Run(root, crf, alone, "tasks.entities.labels=[O, B-time, I-time, B-number, I-number]")
    before, state = weights(tmp_path), begun(run, Plan(Start(tmp_path / "model", "x")))
    assert before["heads.entities.transitions"].any()
    known = [0, 3, 4]  # the champion's O, B-number, I-number
    for name in ("start", "end", "out.bias"):
        assert torch.equal(state[f"heads.entities.{name}"][known], before[f"heads.entities.{name}"])
    taken = state["heads.entities.transitions"]
    assert torch.equal(taken[known][:, known], before["heads.entities.transitions"])
    assert not taken[1:3].any()
    assert not taken[:, 1:3].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("router={kind: linear}", r"the router \{kind: experts, .*\}, the project \{kind: linear\}"),
        ("router={kind: experts, experts: 2, bottleneck: 4, tau: 2}", r"tau: 1.*the project .*tau: 2"),
    ],
)
def test_a_champion_with_another_router_is_refused(
    root: Path, champion: Start, change: str, message: str
) -> None:
    run = Run(root, change)
    given = (run.project, run.workspace)
    for begin in (
        lambda: store(*given, run.encoded, lambda *_: None, Plan(champion)),
        lambda: fit(*given, run.validated, run.encoded, run.stored, lambda *_: None, Plan(champion)),
    ):
        with pytest.raises(ConfigError, match=message) as found:
            begin()
        assert "write `retraining.start: pretrained`" in str(found.value)


def test_a_folder_without_a_model_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    run = Run(root)
    with pytest.raises(ModelError, match="nowhere holds no model to start from"):
        store(
            run.project, run.workspace, run.encoded, lambda *_: None, Plan(Start(tmp_path / "nowhere", "x"))
        )


def test_a_champion_of_another_backbone_is_refused_whether_it_says_so_or_not(
    root: Path, champion: Start, tiny_model: Path
) -> None:
    other = root / "other"
    backbone = load_model(tiny_model).backbone
    with torch.no_grad():
        next(iter(backbone.parameters())).add_(1)
    backbone.save_pretrained(other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (other / name).write_bytes((tiny_model / name).read_bytes())
    run = Run(root, "backbone.source=other")
    with pytest.raises(ConfigError, match=r"the backbone \{.*backbone\}, the project \{other\}"):
        store(run.project, run.workspace, run.encoded, lambda *_: None, Plan(champion))
    about = json.loads((champion.folder / "config.json").read_text(encoding="utf-8"))
    silent = root / "silent"
    silent.mkdir()
    del about["origin"]
    (silent / "config.json").write_text(json.dumps(about), encoding="utf-8")
    refuse_another(run.project, "any", Start(silent, "x"))  # the sizes are all that is known
    about["backbone"]["num_hidden_layers"] = 3
    (silent / "config.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the backbone \{bert \d+ 16 3\}"):
        store(run.project, run.workspace, run.encoded, lambda *_: None, Plan(Start(silent, "x")))


def test_where_one_task_moved_the_answers_to_the_others_stay_as_they_were_bit_by_bit(
    root: Path, champion: Start, tmp_path: Path
) -> None:
    run = Run(root, "training.trainable=2", "training.dropout=0.5", "retraining.effort=1")
    learner = run.learner(plan=Plan(champion, moved=("sentiment",)))
    assert learner.learning == ["sentiment"]
    history = run.fit(tmp_path, plan=Plan(champion, moved=("sentiment",)))
    assert set(history["epochs"][0]["validation"]) == {"sentiment"}
    before, after = weights(champion.folder.parent), weights(tmp_path)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"heads.sentiment.out.weight", "heads.sentiment.out.bias"}
    old, new = (Answerer(folder).answer(TEXTS) for folder in (champion.folder, tmp_path / "model"))
    assert [each["entities"] for each in old] == [each["entities"] for each in new]
    assert [each["sentiment"] for each in old] != [each["sentiment"] for each in new]


def test_what_the_champion_has_not_got_learns_though_it_did_not_move(root: Path, champion: Start) -> None:
    run = Run(root, "tasks.sentiment.labels=[pos, mixed, neg]")
    assert run.learner(plan=Plan(champion, moved=("entities",))).learning == ["sentiment", "entities"]
    with pytest.raises(ConfigError, match="no task moved and none is new"):
        Run(root).learner(plan=Plan(champion, moved=()))
    with pytest.raises(InputError, match="none to start from"):
        Plan(moved=("entities",))


@pytest.mark.costly
def test_a_head_of_an_order_is_not_taken_over_by_another_order(root: Path, tmp_path: Path) -> None:
    ordinal = "tasks.sentiment.kind=ordinal", "tasks.sentiment.labels=[neg, mixed, pos]"
    Run(root, *ordinal, "training.epochs=1").fit(tmp_path)
    plan = Plan(Start(tmp_path / "model", "of an order"), moved=("entities",))
    assert Run(root, *ordinal).learner(plan=plan).learning == ["entities"]
    turned = Run(root, ordinal[0], "tasks.sentiment.labels=[pos, mixed, neg]")
    assert turned.learner(plan=plan).learning == ["sentiment", "entities"]


def test_a_fit_from_a_champion_that_was_killed_ends_with_the_same_weights(
    root: Path, champion: Start, tmp_path: Path
) -> None:
    run, plan = Run(root, "retraining.effort=0.6"), Plan(champion)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run.fit(whole, stored=None, plan=plan)["total_steps"] > 6
    learner = run.learner(plan=plan)
    (killed / "partial").mkdir(parents=True)
    kill_after(6, learner)
    with pytest.raises(Killed):
        learner.run(killed, killed / "partial", lambda _: None)
    torch.manual_seed(99)
    run.fit(killed, plan=plan)
    assert same(whole, killed)


def test_the_routed_model_alone_is_fitted_from_the_champion_and_found_again(
    root: Path, champion: Start
) -> None:
    run = Run(root, "retraining.effort=0.5")
    plan = Plan(champion, moved=("sentiment",))
    stored = store(run.project, run.workspace, run.encoded, lambda *_: None, plan, ["routed"])
    given = (run.project, run.workspace, run.validated, run.encoded, stored)
    made = fit(*given, lambda *_: None, plan, ["routed"])
    assert list(made) == ["routed"]
    before, after = weights(champion.folder.parent), weights(made["routed"].path)
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == {
        "heads.sentiment.out.weight",
        "heads.sentiment.out.bias",
    }
    again = fit(*given, lambda *_: pytest.fail("a fit that is there was made again"), plan, ["routed"])
    assert again["routed"].reused


def test_the_trunk_of_a_start_that_learned_deeper_is_part_of_a_fit_s_digest(
    root: Path, champion: Start
) -> None:
    run, plan = Run(root), Plan(champion)
    theirs = store(run.project, run.workspace, run.encoded, lambda *_: None, plan, ["routed"])
    found = [
        fit_inputs(run.project, variant(run.project, "routed"), run.encoded, stored, "float32", plan)
        for stored in (run.stored, theirs)
    ]
    assert found[0]["activations"] != found[1]["activations"]


def test_start_effort_and_what_moved_are_part_of_a_fit_s_digest(root: Path, champion: Start) -> None:
    run, more = Run(root), Run(root, "retraining.effort=0.9")
    plans = [Plan(), Plan(champion), Plan(Start(champion.folder, "x")), Plan(champion, moved=("sentiment",))]
    found = [
        fit_inputs(each.project, variant(each.project, "routed"), each.encoded, None, "x", plan)
        for each in (run, more)
        for plan in plans
    ]
    assert found[0] == found[4]
    assert len({json.dumps(each, sort_keys=True) for each in found}) == 7
    assert all(Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan for plan in plans)


@pytest.mark.costly
@pytest.mark.parametrize(("split", "same"), [("test", True), ("validation", False), ("train", False)])
def test_a_corrected_label_fits_again_only_where_it_is_learned_or_chosen_by(
    tiny_project: Path, split: str, same: bool
) -> None:
    before = Run(tiny_project)
    relabel(tiny_project, read_validated(before.validated.path, "sentiment", split)["text"].iloc[0])
    after = Run(tiny_project)
    assert before.encoded.digest != after.encoded.digest
    found = [
        [
            fit_inputs(
                run.project,
                variant(run.project, "routed", rung=plan.on),
                *(run.encoded, run.stored),
                "float32",
                plan,
            )
            for plan in (Plan(), Plan(rung=Rung("heads")))
        ]
        for run in (before, after)
    ]
    assert all((one == other) == same for one, other in zip(*found, strict=True))
    assert before.stored is not None
    assert after.stored is not None
    assert before.stored.digest == after.stored.digest


@pytest.mark.costly
def test_another_name_of_a_file_and_a_column_that_is_only_looked_at_fit_nothing_again(
    tiny_project: Path,
) -> None:
    before = Run(tiny_project)
    (tiny_project / "data" / "sentiment.csv").rename(tiny_project / "data" / "opinions.csv")
    project = tiny_project / "project.yaml"
    project.write_text(project.read_text().replace("sentiment.csv", "opinions.csv"), encoding="utf-8")
    after = Run(tiny_project, "tasks.sentiment.slices=[source]")
    assert before.validated.digest != after.validated.digest
    one, other = (
        fit_inputs(run.project, variant(run.project, "routed"), run.encoded, run.stored, "float32")
        for run in (before, after)
    )
    assert one == other


def test_effort_and_rate_are_part_of_a_digest_only_where_a_champion_is_trained(
    root: Path, champion: Start
) -> None:
    run, more = Run(root), Run(root, "retraining.effort=0.9", "retraining.rate=0.9")
    whole = Rung("whole", first=False)

    def same(plan: Plan) -> bool:
        return plan.inputs(run.project) == plan.inputs(more.project)

    assert same(Plan(champion, rung=whole))
    assert same(Plan(champion, rung=Rung("heads", retraining=True)))
    assert not same(Plan(champion, rung=replace(whole, retraining=True)))
    assert not same(Plan(champion))
