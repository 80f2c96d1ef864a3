"""`doubleroute predict`: requests in every format, answers as JSONL and CSV, on a real tiny model."""

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from doubleroute.errors import InputError
from doubleroute.modeling.inference import Answerer
from doubleroute.serving.predictor import predict, write
from doubleroute.serving.requests import MAX_LINE_BYTES, Request, read_requests


@pytest.fixture(scope="module")
def answerer(tiny_model: Path) -> Answerer:
    return Answerer(tiny_model, threads=1)


def read(text: str | bytes, form: Any = None) -> list[Request]:
    """The requests of a stream."""
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_requests(io.BytesIO(data), form))


def test_plain_text_is_a_request_a_line_and_blank_lines_are_passed_over() -> None:
    assert read("a good film\n\nNA\r\n") == [
        Request(1, {"text": "a good film"}),
        Request(3, {"text": "NA"}),
    ]


def test_a_stream_whose_first_line_is_a_json_object_is_jsonl() -> None:
    found = read('\ufeff\n{"text": "a", "text_pair": "b", "id": 7, "label": "x"}\n{"tokens": ["a", "b"]}')
    assert found == [Request(2, {"text": "a", "text_pair": "b"}, 7), Request(3, {"tokens": ["a", "b"]})]
    assert read('["no object"]\n') == [Request(1, {"text": '["no object"]'})]


def test_the_header_of_a_table_on_a_stream_is_a_text_where_that_is_said() -> None:
    assert read("text\na\n", "text") == [Request(1, {"text": "text"}), Request(2, {"text": "a"})]
    assert read("text\na\n", "csv") == [Request(1, {"text": "a"})]
    assert read("the text, please\n") == [Request(1, {"text": "the text, please"})]


def test_csv_text_stays_text_and_rows_are_counted_without_the_header(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('id,text,text_pair\n007,NA,\nx,"two\nlines, quoted",01\n\n,True,\n', encoding="utf-8-sig")
    assert list(read_requests(path)) == [
        Request(1, {"text": "NA"}, "007"),
        Request(2, {"text": "two\nlines, quoted", "text_pair": "01"}, "x"),
        Request(3, {"text": "True"}, ""),
    ]


def test_a_csv_line_of_blanks_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,id\nhello,1\n   \nbye,2\n")
    assert [request.id for request in read_requests(path)] == ["1", "2"]


def test_other_columns_can_hold_the_text(tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text("review\tother\nfine, really\tx\n")
    assert list(read_requests(path, text="review")) == [Request(1, {"text": "fine, really"})]


def test_the_words_of_a_project_that_tags_words_are_read_rather_than_the_text_beside_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "can\'t", "words": ["ca", "n\'t"]}\n{"text": "a"}\n{"words": "b c"}\n')
    assert [request.values for request in read_requests(path, tokens="words")] == [
        {"tokens": ["ca", "n't"]},
        {"text": "a"},
        {"text": "b c"},
    ]
    pair = '{"text": "a", "text_pair": "b", "words": ["a"]}'
    path.write_text(pair)
    assert next(read_requests(path, tokens="words")).values == {"text": "a", "text_pair": "b"}
    path.write_text('{"text": "a", "tokens": ["b"]}')
    assert next(read_requests(path)).values == {"text": "a"}


@pytest.mark.parametrize(
    ("form", "data", "message"),
    [
        ("jsonl", b'{"text": "a"}\n{"text": "b"', "line 2: not a JSON object"),
        ("jsonl", b"[1]\n", "line 1: a JSON object such as"),
        ("jsonl", b"[" * 100_000, "line 1: not a JSON object"),
        ("jsonl", b'{"txt": "a"}\n', "line 1: 'text' is missing; --text-column NAME .* --task NAME"),
        ("jsonl", b'{"text": 3}\n', "line 1: 'text' is not text"),
        ("jsonl", b'{"text": "a", "text_pair": 3}\n', "'text_pair' is not text"),
        ("jsonl", b'{"tokens": ["a", ""]}\n', "'tokens' must be a list"),
        (None, b"id,text\n7,a\n", "line 1: this is the header of a table; write --input-format csv"),
        (None, b'\n"text"\t"id"\r\na\t7\n', "line 2: .* write --input-format tsv"),
        ("csv", b"", "is empty"),
        ("csv", b"text\n", "is empty"),
        ("jsonl", b"", "is empty"),
        ("text", b"\n \n", "is empty"),
        (None, b"", "is empty"),
        ("jsonl", b'{"text": "a\\ud800"}\n', "line 1: 'text' holds U.D800, which is half a character"),
        ("jsonl", b'{"text": "a", "id": "\\ud800"}\n', "line 1: 'id' holds U.D800"),
        ("jsonl", b'{"text": "a", "id": NaN}\n', "line 1: not a JSON object"),
        ("csv", b"a,b\n1,2\n", "line 1: no column 'text' in the header; it has: a, b; --text-column NAME"),
        ("csv", b"text,text\n", "column 'text' stands twice"),
        ("csv", b"text,x\na,b\nc,d,e\n", "line 3: 3 fields, and the header has 2"),
        ("csv", b'text\nok\n"not closed\nat all\n', "line 3: .*is a quote not closed"),
        ("csv", b'text\n"  "\n', "line 2: 'text' is empty"),
        ("text", b"a\nb\xe9\n", "line 2: byte 2 is not UTF-8"),
        ("text", b"\xff\xfea\0", "is UTF-16"),
        ("text", b"a\0b\n", "line 1: holds a NUL byte"),
        ("text", b"a" * (MAX_LINE_BYTES + 1), "line 1: longer than"),
    ],
)
def test_a_bad_request_stops_with_its_line(form: str | None, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"standard input.*{message}"):
        read(data, form)


def test_a_file_without_a_known_suffix_needs_a_format(tmp_path: Path) -> None:
    path = tmp_path / "in.data"
    path.write_text("hello\n")
    with pytest.raises(InputError, match=r"suffix '\.data' names no format .*; write --input-format"):
        list(read_requests(path))
    assert list(read_requests(path, "text")) == [Request(1, {"text": "hello"})]
    with pytest.raises(InputError, match="No such file"):
        list(read_requests(tmp_path / "absent.csv"))


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
