"""What the attribution names, and that it names nothing that does not hold on the half held out."""

import json

import numpy as np
import pytest

from doubleroute.drift.attribution import MISSING, OTHER, attribute
from doubleroute.drift.sample import Sample

TOWN = (
    "the",
    "film",
    "is",
    "a",
    "good",
    "quiet",
    "story",
    "about",
    "people",
    "in",
    "one",
    "town",
    "by",
    "sea",
)
HANZI = "电影很好看我喜欢这个故事因为演员非常出色导演也很有才华音乐动人"


def sample(texts, embeddings=None, seed=0, segments=None, file="data/a.csv", tokens=None):
    generator = np.random.default_rng(seed)
    if embeddings is None:
        embeddings = generator.standard_normal((len(texts), 8))
    return Sample(
        embeddings=np.asarray(embeddings, np.float32),
        texts=texts,
        tokens=np.array([len(text.split()) for text in texts] if tokens is None else tokens, np.int64),
        unknown=np.zeros(len(texts)),
        segments=segments or {},
        times=[None] * len(texts),
        places=[f"{file}:{row + 2}" for row in range(len(texts))],
        tasks={},
    )


def sentences(count, seed, words=TOWN, extra=(), share=0.0, between=" ", length=12):
    """Random sentences; ``extra`` words stand in this share of them."""
    generator = np.random.default_rng(seed)
    found = []
    for row in range(count):
        drawn = list(generator.choice(list(words), length))
        if generator.random() < share:
            drawn.insert(int(generator.integers(length)), str(generator.choice(extra)))
        found.append(between.join(drawn) + between + f"{row}x{seed}")
    return found


def named(document, way):
    return [entry["word"] for entry in document["words"][way]]


def test_a_word_that_came_is_named_with_what_the_held_out_half_says():
    reference = sample(sentences(600, 1))
    current = sample(sentences(600, 2, extra=["blockchain"], share=0.2), seed=1)
    (entry,) = attribute(reference, current, 17)["words"]["more"]
    assert entry["word"] == "blockchain"
    assert entry["reference"] == 0
    assert entry["rows"][0] == 0
    # About a half of the 120 current rows that hold it are held out, and those alone are counted.
    assert 30 < entry["rows"][1] < 90
    assert 1 < entry["low"] < entry["times"] < entry["high"]


def test_a_word_that_went_is_named_on_the_other_side():
    document = attribute(
        sample(sentences(600, 1, extra=["sequel"], share=0.2)), sample(sentences(600, 2), seed=1), 17
    )
    assert named(document, "less") == ["sequel"]
    assert named(document, "more") == []


def test_a_word_in_many_copies_of_one_text_is_not_named():
    reference, same = sentences(400, 1), ["spam spam spam and nothing else"] * 200
    document = attribute(sample(reference), sample([*sentences(400, 2), *same], seed=1), 17)
    # All copies lie in one half: the other knows nothing of the word.
    assert "spam" not in named(document, "more")


def test_longer_texts_of_the_same_words_move_the_length_and_no_word():
    reference, current = sample(sentences(500, 1)), sample(sentences(500, 2, length=24), seed=1)
    document = attribute(reference, current, 17)
    lengths = document["lengths"]
    assert lengths["holds"]
    assert lengths["longer"] > 0.99
    assert lengths["reference"]["quantiles"]["50"] == 13
    assert lengths["current"]["quantiles"]["50"] == 25
    assert sum(lengths["current"]["counts"]) == 500
    assert len(lengths["current"]["counts"]) == len(lengths["edges"]) - 1
    assert named(document, "more") == named(document, "less") == []


@pytest.mark.parametrize(
    ("kind", "move"),
    [("mean", lambda rows: rows + np.array([1.0, *[0] * 7])), ("spread", lambda rows: 3 * rows)],
)
def test_embeddings_that_moved_are_told_apart_on_the_held_out_half(kind, move):
    rows = np.random.default_rng(5).standard_normal((800, 8))
    moved = move(np.random.default_rng(6).standard_normal((800, 8)))
    check = attribute(sample(sentences(800, 1), rows), sample(sentences(800, 2), moved), 17)["held_out"]
    assert check["better_than_chance"], kind
    assert 0.5 < check["low"] <= check["auc"] <= check["high"] <= 1
    assert f"{check['auc']:.1%} of pairs" in check["said"]


def test_the_rows_that_moved_are_the_ones_named():
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((600, 8))
    rows[:60, 0] += 6
    current = sample(sentences(600, 2), rows, file="data/new.csv")
    reference = sample(sentences(600, 1), generator.standard_normal((600, 8)))
    document = attribute(reference, current, 17)
    found = document["responsible"]
    assert len(found) == 20
    places = {int(entry["place"].removeprefix("data/new.csv:")) - 2 for entry in found}
    assert len(places & set(range(60))) >= 18
    assert [entry["score"] for entry in found] == sorted((e["score"] for e in found), reverse=True)
    assert all(entry["text"] == current.texts[int(entry["place"].split(":")[1]) - 2] for entry in found)


def test_copies_of_a_text_are_named_once():
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((600, 8)) + 1.0
    rows[:40] = 2.5
    current = sample(["the same again"] * 40 + sentences(560, 2), rows)
    reference = sample(sentences(600, 1), generator.standard_normal((600, 8)))
    found = attribute(reference, current, 17)["responsible"]
    assert [entry["copies"] for entry in found if entry["text"] == "the same again"] == [40]


def test_a_group_of_embeddings_that_came_is_shown_by_its_texts():
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((800, 8))
    rows[600:] += 8
    texts = sentences(600, 2) + [f"a tweet {row}" for row in range(200)]
    document = attribute(
        sample(sentences(800, 1), generator.standard_normal((800, 8))), sample(texts, rows), 17
    )
    came = [cluster for cluster in document["clusters"] if cluster["low"] > 0]
    assert sum(cluster["current"] for cluster in came) == pytest.approx(0.25, abs=0.04)
    assert all(text.startswith("a tweet") for cluster in came for text in cluster["texts"])


@pytest.mark.costly
def test_nothing_is_named_when_nothing_moved():
    pool = sentences(4000, 1)
    rows = np.random.default_rng(9).standard_normal((4000, 8))
    values = list(np.random.default_rng(8).choice(["a", "b", "c"], 4000))
    alarms = {"classifier": 0, "words": 0, "lengths": 0, "segments": 0}
    for seed in range(40):
        places = np.random.default_rng(seed).permutation(4000)[:600]
        sides = [
            sample(
                [pool[row] for row in side],
                rows[side],
                segments={"source": [values[row] for row in side]},
                tokens=[row % 30 for row in side],
            )
            for side in (places[:300], places[300:])
        ]
        document = attribute(*sides, seed)
        check = document["held_out"]
        alarms["classifier"] += check["better_than_chance"]
        alarms["words"] += bool(document["words"]["more"] or document["words"]["less"])
        alarms["lengths"] += document["lengths"]["holds"]
        alarms["segments"] += any(entry["holds"] for entry in document["segments"]["source"])
        if not check["better_than_chance"]:
            assert document["responsible"] == document["clusters"] == []
            assert "no better than chance" in check["said"]
    # 5% or less each: 6 of 40 and more happen once in 70 times at 5%.
    assert max(alarms.values()) <= 5, alarms


def test_segments_are_shares_of_all_rows_and_hold_where_both_halves_agree():
    columns = [["imdb"] * 30 + ["rotten"] * 470, ["imdb"] * 200 + ["rotten"] * 299 + [None]]
    sides = [sample(sentences(500, n), seed=n, segments={"source": columns[n]}) for n in (0, 1)]
    found = {entry["value"]: entry for entry in attribute(*sides, 17)["segments"]["source"]}
    assert found["imdb"]["rows"] == [30, 200]
    assert (found["imdb"]["reference"], found["imdb"]["current"]) == (0.06, 0.4)
    assert found["imdb"]["holds"]
    assert 0 < found["imdb"]["low"] < 0.34 < found["imdb"]["high"]
    assert not found[MISSING]["holds"]
    assert found[MISSING]["low"] < 0


def test_rare_values_of_a_segment_are_taken_together():
    column = [f"user {row}" for row in range(300)]
    sides = [sample(sentences(300, n), seed=n, segments={"user": column}) for n in (0, 1)]
    found = attribute(*sides, 17)["segments"]["user"]
    assert len(found) == 21
    assert {entry["value"]: entry["rows"] for entry in found}[OTHER] == [280, 280]
    assert not any(entry["holds"] for entry in found)


def test_files_are_compared_by_the_rows_that_stand_in_them():
    sides = [sample(sentences(200, n), seed=n, file=f"data/{n}.csv") for n in (0, 1)]
    found = {entry["value"]: entry for entry in attribute(*sides, 17)["files"]}
    assert found["data/0.csv"]["rows"] == [200, 0]
    assert found["data/1.csv"]["rows"] == [0, 200]
    assert found["data/1.csv"]["holds"]


def test_chinese_is_compared_by_pairs_of_characters():
    reference = sample(sentences(500, 1, words=HANZI, between=""), tokens=[20] * 500)
    current = sample(sentences(500, 2, words=HANZI, between="", extra=["疫情"], share=0.3), tokens=[20] * 500)
    assert "疫情" in named(attribute(reference, current, 17), "more")


@pytest.mark.parametrize(
    "word", ["कोविड", "вирус", "วัคซีน"[:2], "פוליטיקה", "🦠", "l'été", "naïve-ish"[:5], "COVID"]
)
def test_words_of_any_script_are_named_whole(word):
    reference = sample(sentences(500, 1))
    current = sample(sentences(500, 2, extra=[f"“{word}”,"], share=0.3), seed=1)
    assert named(attribute(reference, current, 17), "more") == [word.casefold()]


@pytest.mark.parametrize(
    ("reference", "current"), [(1, 1), (500, 1), (1, 500), (30, 30), (0, 5), (5, 0), (0, 0)]
)
def test_too_few_rows_cannot_tell_and_say_so(reference, current):
    sides = [
        sample(sentences(rows, seed), np.ones((rows, 8)) * seed, segments={"s": ["a"] * rows})
        for seed, rows in enumerate((reference, current))
    ]
    document = attribute(*sides, 17)
    assert document["held_out"]["auc"] is None
    assert not document["held_out"]["better_than_chance"]
    assert document["held_out"]["said"].startswith("Cannot tell what moved")
    assert named(document, "more") == named(document, "less") == document["responsible"] == []
    assert not document["lengths"]["holds"]
    assert not any(entry["holds"] for entry in document["segments"]["s"])
    json.dumps(document, allow_nan=False)


def test_empty_texts_and_constant_embeddings_are_no_better_than_chance():
    sides = [sample([" " * row for row in range(100)], np.ones((100, 4))) for _ in range(2)]
    assert attribute(*sides, 17)["held_out"]["auc"] is None  # stripped, they are all one text
    texts = [f"text {row}" for row in range(300)]
    document = attribute(sample(texts, np.ones((300, 4))), sample(texts, np.ones((300, 4))), 17)
    assert document["held_out"]["auc"] == 0.5
    assert not document["held_out"]["better_than_chance"]
    json.dumps(document, allow_nan=False)


def test_the_projection_has_at_most_400_rounded_points_a_side():
    rows = np.random.default_rng(1).standard_normal((900, 8)) * 123.456
    found = attribute(sample(sentences(500, 1), rows[:500]), sample(sentences(400, 2), rows[500:]), 17)
    plane = found["projection"]
    assert (len(plane["reference"]), len(plane["current"])) == (400, 400)
    assert 0 < plane["explained"][1] <= plane["explained"][0] < 1
    assert all(len(f"{abs(number)}") <= 7 for point in plane["current"] for number in point)


def test_the_same_samples_and_seed_give_the_same_document():
    sides = [sample(sentences(300, n, extra=["new"], share=0.3 * n), seed=n) for n in (0, 1)]
    first, second = (json.dumps(attribute(*sides, 17)) for _ in range(2))
    assert first == second
    assert json.loads(first)["rows"] == {"reference": 300, "current": 300}
