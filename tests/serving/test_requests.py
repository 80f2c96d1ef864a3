"""Requests in every format, read one by one."""

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from doubleroute.errors import InputError, RowError
from doubleroute.serving.requests import MAX_LINE_BYTES, Request, read_requests, refuse_halves


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
        ("csv", b"text,text\n", "line 1: the header has column .text. twice; rename"),
        ("csv", b"text,x\na,b\nc,d,e\n", "line 3: 3 fields, and the header has 2"),
        ("csv", b'text\nok\n"not closed\nat all\n', "line 3: .*is a quote not closed"),
        ("csv", b'text,id\n"  ",7\n', "line 2: 'text' is empty"),
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


def test_rows_of_blank_cells_are_passed_over_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,hello\n,\n  , \n2,bye\n,\n")
    assert [(request.row, request.id) for request in read_requests(path)] == [(1, "1"), (2, "2")]
    path.write_text("text\nhello\n   \n")
    assert [request.row for request in read_requests(path)] == [1]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("text;id", "seems to be separated by semicolons, not commas"),
        ("text\tid", "seems to be separated by tabs, not commas: name it .tsv"),
        ("sep=,", "tells Excel what separates the columns and is no header; delete the line"),
        ("text,,", "2 columns of the header have no name"),
    ],
)
def test_a_header_that_training_refuses_is_refused_with_its_reason(
    tmp_path: Path, header: str, message: str
) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{header}\na\n")
    with pytest.raises(InputError, match=f"in.csv, line 1: .*{message}"):
        list(read_requests(path))


def test_a_named_pipe_is_opened_once(tmp_path: Path) -> None:
    pipe = tmp_path / "in.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=('{"text": "a"}\n{"text": "b"}\n',), daemon=True)
    writer.start()
    found: list[str] = []
    reader = threading.Thread(
        target=lambda: found.extend(each.values["text"] for each in read_requests(pipe)), daemon=True
    )
    reader.start()
    reader.join(timeout=20)
    assert found == ["a", "b"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read")
def test_a_file_that_fails_while_it_is_read_is_named() -> None:
    with pytest.raises(InputError, match=r"^/proc/self/mem cannot be read: Input/output error$"):
        list(read_requests(Path("/proc/self/mem"), "text"))


def test_a_table_without_the_column_of_a_second_text_is_refused_where_a_task_reads_pairs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("premise,hypotesis\na,b\n")
    given = {"text": "premise", "text_pair": "hypothesis"}
    assert [each.values for each in read_requests(path, **given)] == [{"text": "a"}]
    message = "line 1: no column 'hypothesis' .* did you mean 'hypotesis'.*; --pair-column NAME reads another"
    with pytest.raises(InputError, match=message):
        list(read_requests(path, **given, paired=True))


def test_half_a_pair_is_refused_where_every_task_reads_pairs() -> None:
    pair, single, older = (
        {"kind": "classification", **each} for each in ({"pair": True}, {"pair": False}, {})
    )
    rows = [{"text": "a", "text_pair": "b"}, {"text": "a"}]
    with pytest.raises(RowError, match="row 2: task 'nli' reads pairs: a second text is needed"):
        refuse_halves(rows, {"nli": pair, "qa": {"kind": "span", "pair": True}})
    for other in (single, older):
        refuse_halves(rows, {"nli": pair, "topic": other})
    refuse_halves(rows, {"qa": {"kind": "span", "pair": True}})
