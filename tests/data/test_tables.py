"""Every format is read as it is written; what is wrong says where and what would be right."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleroute.data import raw, tables
from doubleroute.data.tables import Table, digests, read_tables
from doubleroute.errors import DataError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, content: str | bytes | None = None, **options: object) -> Table:
    if content is not None:
        write(path, content)
    (table,) = read_tables(path, **options)  # type: ignore[arg-type]
    return table


def refusal(path: Path, content: str | bytes | None = None, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read(path, content, **options)
    assert path.name in str(caught.value)
    return str(caught.value)


# what is read


def test_text_stays_text_in_csv(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "text,label\nNA,01\nnull,True\n1e5,\n")
    assert table.columns == {"text": ["NA", "null", "1e5"], "label": ["01", "True", ""]}
    assert table.rows == [1, 2, 3]
    assert table.problems == []


def test_a_byte_order_mark_windows_line_ends_and_quoted_line_ends_are_read(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", b'\xef\xbb\xbftext,label\r\n"two\r\nlines, ""quoted""",a\r\n\r\nb,c\r\n')
    assert table.columns["text"] == ['two\r\nlines, "quoted"', "b"]
    assert table.names == ("text", "label")
    assert table.rows == [1, 2]


def test_only_wanted_columns_are_kept_but_all_are_named(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "text,label,more\na,b,c\n", wanted={"label"})
    assert table.columns == {"label": ["b"]}
    assert table.names == ("text", "label", "more")


def test_tsv_takes_commas_as_text(tmp_path: Path) -> None:
    assert read(tmp_path / "a.tsv", "text\tlabel\na, b\tc\n").columns["text"] == ["a, b"]


def test_jsonl_keeps_types_and_counts_lines(tmp_path: Path) -> None:
    table = read(tmp_path / "a.jsonl", '{"text": "a\u2028b", "n": 1}\n\n{"text": "c", "tags": ["O"]}\n')
    assert table.columns == {"text": ["a\u2028b", "c"], "n": [1, None], "tags": [None, ["O"]]}
    assert table.rows == [1, 3]


def test_parquet_and_saved_datasets_give_the_names_of_class_labels(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    data = Dataset.from_dict({"text": ["NA", "b", "c"], "label": [1, 0, -1]}, features=features)
    data.save_to_disk(tmp_path / "one")
    DatasetDict({"train": data, "dev": data.select([0])}).save_to_disk(tmp_path / "many")
    pq.write_table(data.data.table, tmp_path / "a.parquet")
    expected = {"text": ["NA", "b", "c"], "label": ["good", "bad", None]}
    assert read(tmp_path / "a.parquet").columns == expected
    assert read(tmp_path / "one").columns == expected
    assert read(tmp_path / "many", split="train").columns == expected
    assert read(tmp_path / "many", split="validation").columns["text"] == ["NA"]
    assert "has no split 'test'; it has: dev, train" in refusal(tmp_path / "many", split="test")
    for file in (tmp_path / "one").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:40])
    assert "is not a whole folder of save_to_disk" in refusal(tmp_path / "one")


def test_a_plain_folder_gives_the_files_of_the_split(tmp_path: Path) -> None:
    for name in ("train-00000.csv", "train-00001.csv", "test.csv"):
        write(tmp_path / "d" / name, f"text\n{name}\n")
    assert [table.path.name for table in read_tables(tmp_path / "d")] == [
        "train-00000.csv",
        "train-00001.csv",
    ]
    assert [table.path.name for table in read_tables(tmp_path / "d", split="test")] == ["test.csv"]
    assert "no file of the split 'validation'" in refusal(tmp_path / "d", split="validation")
    write(tmp_path / "e" / "a.csv", "text\na\n")
    assert len(read_tables(tmp_path / "e", split="test")) == 1
    (tmp_path / "f").mkdir()
    assert "holds no data file" in refusal(tmp_path / "f")


@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=2
        )
    )
)
def test_what_the_csv_module_writes_is_read_back(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import csv
    import io

    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["text", "label"], *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    given_rows = [tuple(row) for row in rows if any(value.strip() for value in row)]
    if given_rows:
        table = read(path, buffer.getvalue().encode())
        assert list(zip(*table.columns.values(), strict=True)) == given_rows
    else:
        assert "no rows" in refusal(path, buffer.getvalue())


# what is wrong with a file


def test_a_missing_file_is_named_with_what_is_near(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train.jsonl", "{}")
    assert "did you mean 'train.jsonl'?" in refusal(tmp_path / "data" / "trian.jsonl")
    assert "holds: train.jsonl" in refusal(tmp_path / "data" / "zzz.parquet")
    assert "did you mean 'data'?" in refusal(tmp_path / "dta" / "train.jsonl")
    with pytest.raises(DataError, match="did you mean"):
        digests(tmp_path / "data" / "trian.jsonl")


def test_a_missing_column_lists_what_is_there(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "text,label\na,b\n")
    with pytest.raises(
        DataError,
        match=r"tasks\.x\.columns\.label: column 'lable' .*a\.csv; it has: text, label; did you mean 'label'",
    ):
        table.require("lable", "tasks.x.columns.label")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.txt", "a.tsv"])
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    assert "is empty" in refusal(tmp_path / name, content)


@pytest.mark.parametrize("content", ["\ufeff", "\ufeff\n\n", "\u00a0\n", "\u3000"])
def test_jsonl_of_nothing_but_a_byte_order_mark_or_blanks_is_empty(tmp_path: Path, content: str) -> None:
    assert "a.jsonl is empty; it must hold at least one row" in refusal(tmp_path / "a.jsonl", content)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    assert "has a header but no rows" in refusal(tmp_path / "a.csv", "text,label\n\n")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert "no rows" in refusal(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "header", "said"),
    [
        ("a.csv", "text;label", "semicolons, not commas"),
        ("a.csv", "text\tlabel", "tabs, not commas: name it .tsv"),
        ("a.csv", "text|label", "bars, not commas"),
        ("a.tsv", "text,label", "commas, not tabs: name it .csv"),
    ],
)
def test_a_wrong_delimiter_is_named(tmp_path: Path, name: str, header: str, said: str) -> None:
    message = refusal(tmp_path / name, f"{header}\na;b\n")
    assert said in message
    assert "line 1" in message


@pytest.mark.parametrize("line", ["sep=,", "sep=;", "SEP=\t"])
def test_a_line_for_excel_is_no_header(tmp_path: Path, line: str) -> None:
    message = refusal(tmp_path / "a.csv", f"{line}\ntext,label\na,b\n")
    assert f"line 1: {line!r} tells Excel what separates the columns and is no header; delete" in message


def test_a_column_twice_in_the_header_is_refused(tmp_path: Path) -> None:
    assert "column 'text' twice" in refusal(tmp_path / "a.csv", "text,text\na,b\n")


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", "looks like UTF-16, not UTF-8; convert it: `iconv -f UTF-16 -t UTF-8"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
        ("latin-1", "line 3: byte 0xe9 is not UTF-8; the file looks like Latin-1"),
        ("gb18030", "looks like"),
    ],
)
def test_another_encoding_is_named_with_how_to_convert(tmp_path: Path, encoding: str, said: str) -> None:
    text = "text,label\ncafe,a\n" + ("很好看的电影很好看的电影" if encoding == "gb18030" else "café") + ",b\n"
    message = refusal(tmp_path / "a.csv", text.encode(encoding))
    assert said in message
    assert "iconv" in message


def test_a_file_cut_inside_a_character_and_one_damaged_byte_are_told_apart(tmp_path: Path) -> None:
    assert "seems to be cut" in refusal(tmp_path / "a.csv", "text\na é".encode()[:-1])
    assert "most of the file is" in refusal(tmp_path / "b.csv", "text\né é é\n".encode() + b"\xff\n")


def test_nul_bytes_and_binary_files_are_refused(tmp_path: Path) -> None:
    assert "line 3: holds a NUL byte" in refusal(tmp_path / "a.csv", b"text,label\na,b\nc\0,d\n")
    assert "is a binary file" in refusal(tmp_path / "b.csv", b"\x7fELF\x02\x01\x01" + bytes(range(64)) * 9)
    assert "gunzip" in refusal(tmp_path / "c.csv", gzip.compress(b"text\na\n"))
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "d.csv")
    assert "ending .parquet" in refusal(tmp_path / "d.csv")
    assert "known endings" in refusal(tmp_path / "e.xlsx", b"PK\x03\x04")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\na,b\n"c,d\ne,f\n', 3),  # open to the end
        ('text,label\na,b\n"c,d\n"e",f\n', 3),  # closed by the next quote
        ('text,label\n"two\nlines",b\n"c" d,e\n', 4),  # something after the quote
        ('text,label\n"two\nlines","c\nd\n', 3),  # the second quote of a record
    ],
)
def test_an_unclosed_quote_is_put_down_to_the_line_it_opens_in(
    tmp_path: Path, content: str, line: int
) -> None:
    message = refusal(tmp_path / "a.csv", content)
    assert f"a.csv line {line}: the quote that opens here is not closed" in message


def test_two_columns_of_one_name_in_a_parquet_are_named(tmp_path: Path) -> None:
    texts = pa.array(["a", "b"])
    pq.write_table(pa.table([texts, texts, texts], ["text", "note", "note"]), tmp_path / "a.parquet")
    assert "a.parquet has column 'note' twice; rename one of them" in refusal(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", wanted={"text"}).columns == {"text": ["a", "b"]}


def test_a_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(1000)]}), path)
    whole = path.read_bytes()
    assert "it is truncated" in refusal(path, whole[: len(whole) // 2])
    assert "something else" in refusal(path, b"text,label\n")
    assert "not a whole Parquet" in refusal(path, b"PAR1" + b"x" * 50 + b"PAR1")


def test_a_time_that_python_cannot_hold_is_put_down_to_its_column(tmp_path: Path) -> None:
    late = pa.array([10**15], pa.timestamp("ms"))
    pq.write_table(pa.table({"text": ["a"], "expires": late}), tmp_path / "a.parquet")
    said = refusal(tmp_path / "a.parquet")
    assert "column 'expires' holds a value of type timestamp[ms] that cannot be read" in said
    assert read(tmp_path / "a.parquet", wanted=["text"]).columns == {"text": ["a"]}


def test_a_parquet_that_decodes_to_too_much_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 10_000] * 5000}), path)
    assert path.stat().st_size < 100_000
    from doubleroute.data import formats_arrow

    monkeypatch.setattr(formats_arrow, "MAX_DECODED_BYTES", 20_000_000)
    assert "decodes to more than" in refusal(path)
    monkeypatch.setattr(formats_arrow, "MAX_ROWS", 4999)
    assert "has 5,000 rows; split it" in refusal(path)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MAX_FILE_BYTES", 3)
    assert "split it" in refusal(tmp_path / "a.csv", "text\na\n")


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", "text\na\n")
    read_bytes = Path.read_bytes

    def growing(self: Path) -> bytes:
        data = read_bytes(self)
        with path.open("a") as file:
            file.write("b\n")
        return data

    monkeypatch.setattr(Path, "read_bytes", growing)
    assert "changed while it was read" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\na\n")
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_json_that_is_not_lines_is_refused(tmp_path: Path) -> None:
    assert "one JSON array" in refusal(tmp_path / "a.json", '[\n{"text": "a"}\n]')
    assert "no line is a JSON object" in refusal(tmp_path / "a.jsonl", "text,label\na,b\n")


# what is wrong with a row


def test_a_field_too_many_or_too_few_is_a_problem_of_its_row(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "text,label\na,b\nc, d,e\nf\ng,h\n")
    assert table.columns["text"] == ["a", "g"]
    assert table.rows == [1, 4]
    assert [(each.row, each.value) for each in table.problems] == [(2, "c, d,e"), (3, "f")]
    assert table.problems[0].reason == (
        "line 3: 3 fields where the header has 2; quote a field that holds a delimiter"
    )


def test_stray_quotes_that_make_one_row_of_several_are_refused_and_quoted_tabs_are_not(
    tmp_path: Path,
) -> None:
    text = 'text\tlabel\na\t1\n"Well, he said\t1\nb\t0\nhe is 5\'10"\t1\nc\t0\n'
    said = refusal(tmp_path / "a.tsv", text)
    assert "line 3: the quote that opens here closes in line 5, in the same column" in said
    code = 'text\tlabel\n"def f():\n\treturn 1"\t1\n"two\nlines"\t0\n"x = 1\t# one\ny"\t1\n'
    table = read(tmp_path / "b.tsv", code)
    assert table.columns["text"] == ["def f():\n\treturn 1", "two\nlines"]
    assert "line 6: the quotes of a field may hold" in table.problems[0].reason


def test_lines_of_delimiters_alone_are_skipped(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "text,label\na,b\n,\nc\n, \n")
    assert table.rows == [1]
    assert [each.reason.split(":")[0] for each in table.problems] == ["line 4"]


def test_lines_that_are_no_objects_are_problems(tmp_path: Path) -> None:
    text = (
        '{"text": "a"}\n{"text": "b\n{"text": "c"\n[1]\nnull\n{"a": '
        + "9" * 5000
        + "}\n"
        + "[" * 100_000
        + "\n{'t': 1}"
    )
    table = read(tmp_path / "a.jsonl", text)
    assert table.columns["text"] == ["a"]
    assert [each.row for each in table.problems] == [2, 3, 4, 5, 6, 7, 8]
    reasons = [each.reason for each in table.problems]
    assert "the line is cut" in reasons[0]
    assert "the line is cut" in reasons[1]
    assert reasons[2] == "the line holds a list, not an object with columns"
    assert reasons[3] == "the line holds null, not an object with columns"
    assert "nested too deep" in reasons[5]
    assert "column 2" in reasons[6]
    assert all(len(each.value) <= raw.SHOWN + 1 for each in table.problems)


def test_every_ending_has_a_reader(tmp_path: Path) -> None:
    for ending, form in tables.FORMATS.items():
        if form != "parquet":
            assert "is empty" in refusal(tmp_path / f"a{ending.upper()}", b"")
