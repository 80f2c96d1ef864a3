"""What an ill-prepared user gives: every mistake ends in one error that says where it is and what would be
right, with its exit code, without a traceback, and with nothing half-written."""

import codecs
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_projects import ROWS, call, files, lines, make, refused
from typer.testing import CliRunner

from doubleroute.cli import app


def parquet(cut: int = 0, damage: int = 0) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(pa.table({"text": ["some text"] * 99, "label": ["a", "b", "a"] * 33}), target)
    data = target.getvalue()
    return data[:4] + b"\0" * damage + data[4 + damage : len(data) - cut]


# data files

WHOLE_FILES: dict[str, tuple[str, str | bytes | None, str]] = {
    "missing": ("train.csv", None, "data/train.csv does not exist"),
    "empty": ("train.csv", "", "is empty; it must hold at least one row"),
    "blank lines": ("train.csv", "\n\r\n \n", "is empty; it must hold at least one row"),
    "a header alone": ("train.csv", "text,label\n", "has a header but no rows"),
    "a missing column": ("train.csv", "text,lable\na,b\n", "it has: text, lable; did you mean 'lable'?"),
    "a blank in the header": ("train.csv", "text, label\na,b\n", "it has: text, ' label'; did you mean"),
    "no header": ("train.csv", "a good film,good\nb,bad\n", "is read as the header: is it missing?"),
    "a column twice": ("train.csv", "text,label,text\na,b,c\n", "line 1: the header has column 'text' twice"),
    "columns without a name": ("train.csv", "text,label,,\na,b,,\n", "2 columns of the header have no name"),
    "semicolons": ("train.csv", ROWS.replace(",", ";"), "seems to be separated by semicolons, not commas"),
    "tabs": ("train.csv", ROWS.replace(",", "\t"), "separated by tabs, not commas: name it .tsv"),
    "UTF-16": ("train.csv", ROWS.encode("utf-16"), "looks like UTF-16, not UTF-8; convert it: `iconv"),
    "UTF-16 without mark": ("train.csv", ROWS.encode("utf-16-le"), "looks like UTF-16LE, not UTF-8"),
    "Latin-1": ("train.csv", f"{ROWS}café,good\n".encode("latin-1"), "line 42: byte 0xe9 is not UTF-8"),
    "an unclosed quote": ("train.csv", f'{ROWS}"never,good\nx,bad\n', "line 42: the quote that opens here"),
    "a NUL byte": ("train.csv", f"{ROWS}a\0b,good\n", "line 42: holds a NUL byte; remove it"),
    "an endless header": ("train.csv", f"{'x' * 9_000_000},label\na,b\n", "x…, label"),
    "no whole line": ("train.jsonl", '{"text": "a", "lab\n', "line 1: no line is a JSON object; the line is"),
    "a JSON array": ("train.json", '[{"text": "a"}]', "is one JSON array; JSON Lines has one object a line"),
    "a cut Parquet": ("train.parquet", parquet(cut=40), "its end is missing: it is truncated"),
    "a damaged Parquet": ("train.parquet", parquet(damage=60), "its content is damaged"),
    "CSV called Parquet": ("train.parquet", ROWS, "it does not begin with PAR1; it is something else"),
    "a workbook": ("train.xlsx", b"PK\3\4", "the ending '.xlsx' is not known; known endings: .csv"),
    "a workbook called CSV": ("train.csv", b"PK\3\4rest", "an Excel workbook; unpack it, or save the sheet"),
}


@pytest.mark.parametrize(("name", "data", "said"), WHOLE_FILES.values(), ids=WHOLE_FILES)
def test_a_file_that_cannot_be_read_is_bad_input(
    name: str, data: str | bytes | None, said: str, tmp_path: Path
) -> None:
    project = make(tmp_path / "p", data, name)
    before = files(project)
    message = refused(call("validate", project, "--json"), 2)
    assert said in message
    assert f"data/{name}" in message
    assert len(message) < 500
    assert files(project) == before


def _replace(path: Path, make_it: Callable[[Path], object]) -> None:
    path.unlink()
    make_it(path)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "holds no data file; known endings"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "is a link to nothing"),
}


@pytest.mark.parametrize(("make_it", "said"), PLACES.values(), ids=PLACES)
def test_what_stands_in_the_place_of_a_data_file_is_named(
    make_it: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    project = make(tmp_path / "p")
    _replace(project / "data" / "train.csv", make_it)
    message = refused(call("validate", project, "--json"), 2)
    assert said in message
    assert "data/train.csv" in message


def test_a_file_that_is_written_to_all_the_time_is_refused(tmp_path: Path) -> None:
    project = make(tmp_path / "p", ROWS * 20_000)
    stop = threading.Event()

    def keep_writing() -> None:
        with (project / "data" / "train.csv").open("a") as file:
            while not stop.is_set():
                file.write("one more,good\n")
                file.flush()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        message = refused(call("validate", project, "--json"), 2)
    finally:
        stop.set()
        writer.join()
    assert "data/train.csv changed while it was read; run again when nothing writes to it" in message


def test_all_bad_rows_of_all_tasks_come_in_one_refusal_and_stay_to_be_looked_at(tmp_path: Path) -> None:
    project = make(tmp_path, None)
    sound = [{"text": f"text {n}", "label": "xy"[n % 2]} for n in range(20)]
    tagged = [{"tokens": ["a", "b", str(n)], "tags": ["O", "B-x", "O"]} for n in range(20)]
    tagged[4]["tags"] = ["O"]
    data = {
        "label.csv": f"{ROWS}one,goood\n",
        "field.csv": f"{ROWS}one, two,good\n",
        "cut.jsonl": lines(sound) + '{"text": "c", "lab',
        "twice.jsonl": lines(sound) + '{"text": "a", "label": "x", "label": "y"}\n',
        "digits.jsonl": lines(sound) + f'{{"text": "a", "label": {"9" * 5000}}}\n',
        "tags.jsonl": lines(tagged),
    }
    text = "name: demo\nbackbone: {source: backbone}\nvalidation: {max_invalid: 0}\ntasks:\n"
    for name, content in data.items():
        (project / "data" / name).write_text(content)
        kind = "tagging" if name == "tags.jsonl" else "classification"
        labels = ", labels: [good, bad]" if name == "label.csv" else ""
        text += f"  {Path(name).stem}: {{kind: {kind}, files: {{train: data/{name}}}{labels}}}\n"
    (project / "project.yaml").write_text(text)
    message = refused(call("validate", project, "--json"), 3)
    for said in (
        "data/label.csv row 41, column label: label 'goood' is not one of good, bad, did you mean 'good'?",
        "data/field.csv row 41: line 42: 3 fields where the header has 2; quote a field that holds",
        "data/cut.jsonl row 21: the line is cut: it is not a whole JSON object",
        "data/twice.jsonl row 21: the key 'label' stands twice; keep one",
        "data/digits.jsonl row 21: not valid JSON: a number has thousands of digits; write it as text",
        "data/tags.jsonl row 5, column tags: 3 tokens but 1 tags; each token needs one tag",
    ):
        assert said in message
    quarantined = (project / ".doubleroute" / "quarantine" / "rows.jsonl").read_text().splitlines()
    assert len(quarantined) == 6
    assert list((project / ".doubleroute" / "stages").iterdir()) == []


def test_a_task_of_one_class_and_files_too_small_to_split_are_refused(tmp_path: Path) -> None:
    one = make(tmp_path / "one", ROWS.replace("bad", "good"))
    message = refused(call("validate", one, "--json"), 2)
    assert "tasks.mood: every training row has the label 'good'; classification needs two" in message
    few = make(tmp_path / "few", lines([{"text": "a", "label": "x"}]), "train.jsonl")
    (few / "project.yaml").write_text(
        (few / "project.yaml").read_text() + "    split: {validation: 0.1, test: 0.8}\n"
    )
    message = refused(call("validate", few, "--json"), 2)
    assert "no labelled row is left for" in message


def test_odd_but_right_files_are_read_and_labels_that_look_alike_are_warned_of(tmp_path: Path) -> None:
    marks = ("good", "Good", "good ", "سيء", "😀")
    rows = [f"👩‍👩‍👧‍👦 שלום {n},{marks[n % 5]},{n},x" for n in range(60)]
    content = codecs.BOM_UTF8 + "\r\n".join(["text,label,stars,", *rows, "", "", ""]).encode()
    project = make(tmp_path / "p", content)
    with (project / "project.yaml").open("a") as file:
        file.write("  stars: {kind: regression, files: {train: data/train.csv}, columns: {label: stars}}\n")
    result = call("validate", project, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    for task in ("mood", "stars"):
        assert sum(split["rows_out"] for split in summary["tasks"][task].values()) == 60
    alike = "mood: the labels 'Good', 'good', 'good ' differ in case or blanks alone"
    assert any(warning.startswith(alike) for warning in summary["warnings"])


# project.yaml, --project, --set

PROJECT_FILES: dict[str, tuple[bytes, str]] = {
    "a misspelt key": (b"trainin: {epochs: 1}", "line 7: trainin: unknown key; did you mean 'training'?"),
    "no is text": (b"seed: no", "line 7: seed: must be a whole number from 0 to 2000000000, not 'no'"),
    "010": (b"seed: 010", "line 7: seed: 010 is read as the number 10; write 10"),
    "a tab": (b"\tseed: 1", "line 7, column 1: not valid YAML"),
    "a NUL byte": (b"seed: \0", "line 7: not valid YAML: it holds U+0000"),
    "Latin-1": ("# café".encode("latin-1"), "line 7: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "a key twice": (b"name: other", "line 7: name: stands twice, first in line 1; keep one"),
}


@pytest.mark.parametrize(("more", "said"), PROJECT_FILES.values(), ids=PROJECT_FILES)
def test_a_mistake_in_the_project_file_is_told_with_its_line(more: bytes, said: str, tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    path = project / "project.yaml"
    path.write_bytes(path.read_bytes() + more + b"\n")
    message = refused(call("validate", project, "--json"), 2)
    assert said in message
    assert str(path) in message


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    project = make(tmp_path / "p", more="training: {learning_rate: 1e-4}\n")
    assert call("status", project).exit_code == 0


YAML_PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "UTF-16": (lambda path: path.write_bytes("name: x".encode("utf-16")), "is UTF-16, not UTF-8"),
    "a folder": (lambda path: _replace(path, Path.mkdir), "is a folder; it must be a file"),
    "a link to itself": (
        lambda path: _replace(path, lambda it: it.symlink_to(it)),
        "Too many levels of symbolic links",
    ),
    "a link to nothing": (
        lambda path: _replace(path, lambda it: it.symlink_to("gone")),
        "is a link to a file that does not exist",
    ),
    "nothing": (Path.unlink, "`doubleroute init DATA_FILE` writes one"),
}


@pytest.mark.parametrize(("change", "said"), YAML_PLACES.values(), ids=YAML_PLACES)
def test_what_stands_in_the_place_of_the_project_file_is_named(
    change: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    project = make(tmp_path / "p")
    change(project / "project.yaml")
    message = refused(call("validate", project, "--json"), 2)
    assert said in message
    assert "project.yaml" in message


@pytest.mark.parametrize("command", ["validate", "train", "evaluate", "status", "doctor"])
def test_a_project_that_is_no_folder_is_bad_input(command: str, tmp_path: Path) -> None:
    missing = refused(call(command, tmp_path / "gone", "--json"), 2)
    assert missing == f"the project folder {tmp_path / 'gone'} does not exist"
    (tmp_path / "file").write_text("x")
    message = refused(call(command, tmp_path / "file", "--json"), 2)
    assert message == f"--project {tmp_path / 'file'} is a file; name the folder that holds project.yaml"


def test_init_into_a_file_is_bad_input(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text(ROWS)
    message = refused(call("init", data, str(data), "--json"), 2)
    assert message == f"--project {data} is a file; name a folder"
    assert data.read_text() == ROWS


NONSENSE = {
    "nonsense": "'nonsense' is not KEY.PATH=VALUE, as in training.epochs=1",
    "=3": "'=3' is not KEY.PATH=VALUE",
    "a..b=1": "'a..b=1' is not KEY.PATH=VALUE",
    "training.batch_size=": "training.batch_size: must be a whole number from 1 to 65536, but nothing is",
    "training.batch_size=1e400": "training.batch_size: must be a whole number from 1 to 65536, not 1e400",
    "training.learning_rate=.nan": "training.learning_rate: must be a number above 0, not .nan",
    "seed=[": "seed: '[' is not valid YAML",
    "seed.x=1": "seed: must be a whole number from 0 to 2000000000, not a section",
    "name=!!python/object:os.system x": "is not valid YAML: could not determine a constructor",
    "name=\udcff": "it holds U+DCFF",
}


@pytest.mark.parametrize(("change", "said"), NONSENSE.items(), ids=ascii)
def test_nonsense_in_set_is_told(change: str, said: str, tmp_path: Path) -> None:
    result = call("validate", make(tmp_path / "p"), "--set", change, "--json")
    assert said in refused(result, 2)


WRONG_USE = {
    "an unknown option": ("predict", "--txt", "a"),
    "a value that is not there": ("predict", "--text", "a", "--format", "xml"),
    "an unknown command": ("trian",),
    "a missing argument": ("init",),
}


@pytest.mark.parametrize("words", WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_under_json_is_a_document_too(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)
    assert error["message"] in result.stderr
