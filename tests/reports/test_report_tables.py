"""The tables and verdicts that reports, terminal and artifacts share."""

import json
import math

import pytest
from evaluations import (
    COUNTS,
    HOSTILE,
    PROVENANCE,
    classification,
    evaluation,
    history,
    multilabel,
    regression,
    score,
    tagging,
)

from doubleroute.reports import details, router, tables
from doubleroute.reports.evaluation import Note, sections_of


def everything():
    return evaluation(sentiment=classification(), entities=tagging(), stars=regression(), moods=multilabel())


def test_score_rows_put_the_models_of_a_task_side_by_side():
    header, rows = tables.score_rows(evaluation(sentiment=classification()))
    assert header == ("task", "model", "metric", "score", "95% interval", "rows")
    assert [row[1] for row in rows] == ["majority", "frozen", "plain", "routed", "champion"]
    assert rows[3] == ("sentiment", "routed", "accuracy", "0.829", "[0.804, 0.854]", "853")
    assert all(isinstance(cell, str) for row in rows for cell in row)


def test_a_verdict_says_that_it_cannot_tell_whether_routing_helps():
    (verdict,) = tables.verdicts(evaluation(sentiment=classification()))
    assert verdict == (
        "sentiment: accuracy 0.829 [0.804, 0.854] on 853 test rows; routed against plain fine-tuning: "
        "+0.004 [-0.010, 0.018], cannot tell: nothing here shows that routing helps; "
        "routed against the champion: +0.001 [-0.013, 0.015], cannot tell"
    )


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("better", "better: routing helped here, on one seed"),
        ("worse", "worse: routing did not help"),
        ("cannot tell", "nothing here shows that routing helps"),
    ],
)
def test_a_verdict_says_what_the_comparison_with_plain_means(verdict, said):
    assert said in tables.verdicts(evaluation(s=classification(verdict=verdict)))[0]


def test_a_verdict_on_an_error_measure_says_what_a_positive_difference_is():
    (verdict,) = tables.verdicts(evaluation(stars=regression()))
    assert "mae 0.580 [0.530, 0.630] on 300 test rows (lower is better; a positive difference" in verdict
    assert "+0.030 [+" not in verdict
    assert "no better than" not in verdict


def test_a_verdict_says_when_learning_gained_nothing_over_the_majority():
    (verdict,) = tables.verdicts(evaluation(moods=multilabel()))
    assert "not compared with plain fine-tuning" in verdict
    assert verdict.endswith("no better than the majority baseline (0.710)")


def test_what_was_learned_is_compared_with_the_majority_on_the_same_rows():
    found = evaluation(moods=multilabel())
    task = found["tasks"]["moods"]
    task["models"]["routed"] |= {"rows": 653, "scores": {"micro_f1": score(0.6)}}  # 0.71 of all rows is more
    task["differences"][0] |= {"rows": 653, "scores": [0.6, 0.55]}
    assert "no better than" not in tables.verdicts(found)[0]
    task["differences"][0]["scores"] = [0.6, 0.6]
    said = "no better than the majority baseline (0.600) on the 653 rows that neither learned from"
    assert tables.verdicts(found)[0].endswith(said)


def test_a_verdict_without_a_routed_model_names_the_model():
    (verdict,) = tables.verdicts(evaluation(s=classification(models=("plain",))))
    assert verdict.endswith("(plain fine-tuning alone; nothing routed was compared)")


def test_a_task_that_no_model_answers_is_told_as_such():
    found = evaluation(s=classification(models=()))
    assert tables.verdicts(found) == ["s: no model here answers this task"]


def test_a_model_without_a_router_is_not_called_routed():
    found = evaluation(s=classification(models=("routed",)))
    found["models"]["routed"]["router"] = "none"
    assert "there is no router: this is plain fine-tuning" in tables.verdicts(found)[0]
    assert tables.scores_table(found, "s").rows[0][0] == "fine-tuned, no router"
    assert tables.fairness(found) == ""


def test_the_score_table_begins_with_the_metric_that_judges():
    table = tables.scores_table(everything(), "stars")
    assert table.header == ("model", "mae ↓", "spearman", "pearson", "rmse ↓", "n")
    assert table.rows[0][2] == "–"
    assert "↓: lower is better" in table.note
    names = [row[0] for row in tables.scores_table(everything(), "sentiment").rows]
    assert names[1] == "before fine-tuning: frozen backbone, linear head"
    assert names[3] == "routed fine-tuning, experts"


def test_tables_do_not_depend_on_the_order_of_keys():
    found = everything()
    turned = json.loads(json.dumps(found, sort_keys=True))
    for name in found["tasks"]:
        assert tables.scores_table(turned, name) == tables.scores_table(found, name)
        assert tables.slices_tables(turned, name) == tables.slices_tables(found, name)
        assert details.label_tables(turned["tasks"][name], name) == details.label_tables(
            found["tasks"][name], name
        )


def test_undefined_scores_are_dashes_everywhere():
    found = evaluation(s=classification())
    for model in found["tasks"]["s"]["models"].values():
        model["scores"] = {"accuracy": score(None), "mcc": {"value": math.nan, "low": None, "high": None}}
    found["tasks"]["s"]["differences"][0] |= score(None)
    assert {row[3:5] for row in tables.score_rows(found)[1]} == {("–", "–")}
    assert tables.scores_table(found, "s").rows[0][1:3] == ("–", "–")
    assert "accuracy – on 853 test rows; routed against plain fine-tuning: –" in tables.verdicts(found)[0]


def test_tables_say_on_how_many_rows_a_model_is_scored_that_learned_from_some():
    found = evaluation(s=classification())
    task = found["tasks"]["s"]
    task["models"]["champion"]["rows"] = 653
    task["differences"][1]["rows"] = 653
    assert [row[-1] for row in tables.score_rows(found)[1]] == ["853"] * 4 + ["653"]
    table = tables.scores_table(found, "s")
    assert [row[-1] for row in table.rows] == ["853"] * 4 + ["653"]
    assert table.note.endswith("Rows that a model learned from do not count for it.")
    (slices,) = tables.slices_tables(found, "s")
    assert slices.note.endswith("Rows that a model learned from do not count for it.")
    comparisons = [row[0] for row in tables.differences_table(task, "s").rows]
    assert comparisons == [
        "routed against plain in accuracy",
        "routed against champion in accuracy on the 653 rows that neither learned from",
    ]
    (verdict,) = tables.verdicts(found)
    assert "on 853 test rows;" in verdict
    assert "routed against the champion on the 653 rows that neither learned from: +0.001" in verdict


def test_fairness_compares_steps_and_trained_parameters():
    sentence = tables.fairness(evaluation(s=classification()))
    assert "steps the same, 801; trained parameters 11,150,000 against 10,740,000 (+3.8%)" in sentence


def test_slices_show_every_model_and_the_largest_first():
    (table,) = tables.slices_tables(evaluation(s=classification()), "s")
    assert table.header == ("source", "majority", "frozen", "plain", "routed", "champion", "n")
    assert [row[0] for row in table.rows] == ["rotten_tom", "imdb"]
    assert table.rows[0][-1] == "700"


def test_a_column_of_many_slices_is_cut_with_a_note():
    found = evaluation(s=classification(models=("routed",)))
    many = {f"user {i}": {"rows": i, **score(0.5)} for i in range(1, 101)}
    found["tasks"]["s"]["models"]["routed"]["slices"] = {"user": many}
    (table,) = tables.slices_tables(found, "s")
    assert len(table.rows) == 40
    assert table.rows[0][0] == "user 100"
    assert "60 smaller slices are left out" in table.note


def test_of_retrieval_the_ranks_of_the_right_answers_are_told():
    ranks = [5.0, 2.0, *[0.0] * 8]
    task = {"rows": 10, "models": {"routed": {"details": {"ranks": ranks}}}}
    (table,) = details.label_tables(task, "help")
    assert table.title == "help by rank of the right answer, routed"
    assert table.rows[:3] == [("1", "5.0", "50.0%"), ("2", "2.0", "70.0%"), ("3", "0.0", "70.0%")]


def test_label_tables_show_what_routing_changed_for_each_label():
    (table,) = details.label_tables(classification(), "s")
    assert table.header == ("label", "precision", "recall", "F1", "F1 of plain", "support")
    assert table.rows[0] == ("negative", "0.839", "0.809", "0.829", "0.825", "400")


def test_tagging_has_a_table_of_entities_and_one_of_tags():
    entities, tags = details.label_tables(tagging(), "e")
    assert entities.header[0] == "entity"
    assert [row[0] for row in tags.rows][:2] == ["O", "B-company"]


def test_a_long_label_table_is_folded():
    (table,) = details.label_tables(classification([f"intent {i}" for i in range(150)]), "s")
    assert table.folded
    assert len(table.rows) == 150


def test_confused_pairs_are_the_most_frequent_errors():
    table = details.confused_pairs(["a", "b", "c"], [[5, 1, 4], [0, 9, 0], [7, 0, 0]], "t", "words")
    assert table.header[2:] == ("words", "share of the truth", "truth's words")
    assert table.rows == [
        ("c", "a", "7", "100.0%", "7"),
        ("a", "c", "4", "40.0%", "10"),
        ("a", "b", "1", "10.0%", "10"),
    ]


def test_worst_errors_of_tagging_put_the_tags_beside_their_tokens():
    (error,) = details.mistakes(tagging())
    assert error.truth == "Barack → B-person; Obama → I-person; New → B-geo-loc; York → I-geo-loc"
    assert error.answer == "nothing (every token is O)"
    assert error.place == "data/entities/train.conll, row 77"


def test_worst_errors_of_the_other_kinds_show_numbers_and_lists():
    (error,) = details.mistakes(regression())
    assert (error.truth, error.answer, error.confidence) == ("4.500", "0.250", "–")
    (error,) = details.mistakes(multilabel())
    assert (error.truth, error.answer) == ("joy, calm", "–")


def test_rows_that_stay_out_of_training_are_said_below_the_counts():
    sections = sections_of(evaluation(sentiment=classification()), {}, {}, COUNTS, {"sentiment": 1200})
    went_in = next(each for each in sections if each.title == "What went in")
    assert went_in.blocks[1] == Note(
        "sentiment: 1,200 of these rows were test rows of a champion and stay out of training."
    )


def test_counts_say_whether_they_add_up():
    broken = COUNTS | {"other": {"train": {"rows_in": 9, "rows_out": 5, "quarantined": 3, "unlabelled": 1}}}
    rows = details.counts_table(broken).rows
    assert [row[1] for row in rows] == ["train", "validation", "test", "train"]
    assert rows[0] == ("sentiment", "train", "6,824", "6,821", "3", "0", "yes")
    assert rows[3][-1] == "NO"


def test_texts_that_were_cut_are_counted_and_said():
    found = evaluation(s=classification())
    rows = details.tokens_table(found["tokens"]).rows
    assert rows == [
        ("s", "train", "853", "21,325", "12", "4"),
        ("s", "test", "853", "21,325", "0", "4"),
    ]
    assert tables.cut_texts(found) == [
        "s: 12 of 853 train texts are longer than backbone.max_tokens and were cut"
    ]
    found["tokens"]["s"] = {"answers": {"rows": 40, "tokens": 900, "truncated": 3, "unknown": 0}}
    assert tables.cut_texts(found) == [
        "s: 3 of 40 stored answers are longer than backbone.max_tokens and were cut"
    ]


def test_models_are_told_with_their_size_time_and_precision():
    found = evaluation(s=classification())
    row = details.models_table(found, {"routed": history({"s": "accuracy"})}).rows[3]
    assert row[1:] == ("experts", "float32", "23,123,216", "11,150,000", "801", "3", "91.5")


def test_a_head_that_was_solved_on_a_sample_says_what_was_left_out():
    found = evaluation(s=classification())
    assert details.models_table(found, {}).note == ""
    sampled = history({"s": "accuracy"}) | {"left_out": {"s": 12_345}}
    note = details.models_table(found, {"frozen": sampled}).note
    assert note.endswith(
        "the head of s was solved on a sample of its training rows, of tagging words; 12,345 were left out."
    )


def test_provenance_is_printed_as_given_and_long_texts_stand_alone():
    table, source = details.provenance_blocks(
        PROVENANCE | {"year": 2026, "remote": None, "nested": {"a": {"b": 1}}}
    )
    rows = dict(table.rows)
    assert rows["year"] == "2026"
    assert rows["remote"] == "–"
    assert rows["git dirty"] == "no"
    assert rows["versions: torch"] == "2.13.0"
    assert rows["nested: a: b"] == "1"
    assert source.title == "project file"
    assert "\n  sentiment:\n    kind: classification" in source.text


def test_hostile_names_are_shown_safely_in_the_terminal_table():
    found = evaluation(**{HOSTILE: classification(models=("routed",))})
    _, rows = tables.score_rows(found)
    assert all(cell.isprintable() for row in rows for cell in row)


def test_the_gate_of_each_router_is_a_table_that_names_the_dead_experts() -> None:
    found = evaluation(sentiment=classification())
    assert router.gate_tables(found) == []
    tasks = {"sentiment": {"tokens": 90, "load": [0.7, 0.3, 0.0], "entropy": 0.556}}
    found["models"]["routed"]["gate"] = {"experts": 3, "dead": [2], "tasks": tasks}
    (table,) = router.gate_tables(found)
    assert table.header == ("task", "entropy", "expert 1", "expert 2", "expert 3")
    assert table.rows == [("sentiment", "0.556", "0.700", "0.300", "0.000")]
    assert "an even share: 3." in table.note
