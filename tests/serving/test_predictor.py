"""`doubleroute predict`: answers as JSONL and CSV, on a real tiny model."""

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from doubleroute.errors import InputError
from doubleroute.modeling.inference import Answerer
from doubleroute.serving.predictor import predict, write
from doubleroute.serving.requests import Request, read_requests


@pytest.fixture(scope="module")
def answerer(tiny_model: Path) -> Answerer:
    return Answerer(tiny_model, threads=1)


def test_answers_come_in_order_and_a_batch_at_a_time(answerer: Answerer) -> None:
    drawn = 0

    def endless() -> Iterator[Request]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield Request(drawn, {"text": "a good film" if drawn % 2 else "bad"})

    some = list(itertools.islice(predict(answerer, endless(), ["sentiment"], batch=4), 6))
    assert drawn == 8
    assert [answer.request.row for answer in some] == [1, 2, 3, 4, 5, 6]
    assert some[0].tasks == some[2].tasks != some[1].tasks
    assert list(some[0].tasks) == ["sentiment"]


def test_an_unknown_task_is_refused_before_anything_is_read(answerer: Answerer) -> None:
    with pytest.raises(InputError, match=r"no task 'mood'; it has: .*sentiment"):
        predict(answerer, iter(()), ["mood"])


def test_what_the_model_refuses_is_named_by_its_file_and_line(answerer: Answerer, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n\n' * 4)
    requests = [*read_requests(path), Request(9, {"answer": "b"}, where="in.jsonl, line 9")]
    assert requests[3].where == f"{path}, line 7"
    with pytest.raises(InputError, match=r"^in.jsonl, line 9: a 'text' .* is needed"):
        list(predict(answerer, requests, batch=3))


def test_half_a_pair_is_refused_with_its_line_where_all_that_is_asked_reads_pairs(tiny_model: Path) -> None:
    model = Answerer(tiny_model, threads=1)
    model.tasks["stars"]["pair"] = True
    rows = [{"text": "a", "text_pair": "b"}, {"text": "a"}]
    requests = [Request(number, row, where=f"in.csv, line {number}") for number, row in enumerate(rows, 2)]
    with pytest.raises(InputError, match=r"^in.csv, line 3: task 'stars' reads pairs"):
        list(predict(model, requests, ["stars"]))
    assert len(list(predict(model, requests, ["stars", "topics"]))) == 2


def test_jsonl_holds_every_task_and_the_id(answerer: Answerer) -> None:
    out = io.StringIO()
    requests = [Request(3, {"text": "a good film"}, "x7"), Request(4, {"tokens": ["a", "bad", "film"]})]
    assert write(predict(answerer, requests), answerer.tasks, out) == 2
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["row"], first["id"], set(first["answers"])) == (3, "x7", set(answerer.tasks))
    assert first["answers"]["sentiment"]["label"] in ("neg", "pos")
    assert "id" not in second
    assert len(second["answers"]["entities"]["tags"]) == 3


def test_csv_is_flat_with_json_where_an_answer_has_parts(answerer: Answerer, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    answers = predict(answerer, [Request(1, {"text": "a good film"}), Request(2, {"text": "bad, é"})])
    assert write(answers, answerer.tasks, path) == 2
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["1", "2"]
    assert 0.5 <= float(rows[0]["sentiment_probability"]) <= 1
    assert set(json.loads(rows[0]["topics_probabilities"])) == {"x", "y"}
    assert isinstance(json.loads(rows[0]["topics"]), list)
    assert float(rows[0]["stars"]) == pytest.approx(float(rows[0]["stars"]))
    assert isinstance(json.loads(rows[0]["entities"]), list)


def test_a_file_appears_whole_or_not_at_all(answerer: Answerer, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    requests = read_requests(io.BytesIO(b'{"text": "a"}\n{"text": 3}\n'))
    with pytest.raises(InputError, match="line 2"):
        write(predict(answerer, requests, batch=1), answerer.tasks, path)
    assert path.read_text() == "old\n"
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]
    with pytest.raises(InputError, match="there is no folder"):
        write(iter(()), answerer.tasks, tmp_path / "no" / "folder.csv")


def test_csv_columns_that_would_share_a_name_are_refused(tmp_path: Path) -> None:
    about = {"a": {"kind": "classification"}, "a_probability": {"kind": "regression"}}
    with pytest.raises(InputError, match="two columns would be named 'a_probability'"):
        write(iter(()), about, tmp_path / "out.csv")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="a file system in memory under /dev")
def test_a_file_in_memory_is_replaced_as_any_other(answerer: Answerer) -> None:
    path = Path(f"/dev/shm/doubleroute-{os.getpid()}.jsonl")
    try:
        for text in ("a good film", "a bad film"):
            assert write(predict(answerer, iter([Request(1, {"text": text})])), answerer.tasks, path) == 1
        assert len(path.read_text().splitlines()) == 1
    finally:
        path.unlink(missing_ok=True)
