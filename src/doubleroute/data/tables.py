"""Read any data file into columns of plain values: CSV, TSV, JSONL, Parquet, CoNLL, `datasets` folders.

Text stays text: nothing is inferred from what a cell looks like, so "NA", "01" and "True" stay as they
are written. What is wrong with a whole file is a DataError; what is wrong with a row is a Problem.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from doubleroute.data.formats_arrow import is_saved_dataset, read_parquet, read_saved_dataset
from doubleroute.data.formats_text import read_conll, read_delimited, read_jsonl
from doubleroute.data.raw import Problem, Raw, Table, listed, missing, near, read_raw, shown
from doubleroute.digests import digest_of, file_digest
from doubleroute.errors import DataError, NoSplitError
from doubleroute.workspace import Stage

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Problem", "Table", "combined", "digests", "read_tables", "read_validated", "rows_digest"]

#: ending -> format
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".txt": "conll",
}
#: What the files of a split are called in a folder.
_SPLIT_WORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev", "development"},
    "test": {"test", "testing", "eval"},
}


def read_tables(path: Path, wanted: Collection[str] | None = None, split: str = "train") -> list[Table]:
    """Read a file, or one ``split`` (train, validation, test) of a folder: one table for each file.

    Only the ``wanted`` columns are kept (None: all); a wanted column that is not there is no error here,
    see ``Table.require``. Raises DataError for what is wrong with a whole file: it is missing, empty,
    without rows, not UTF-8, binary, truncated, wrongly delimited, has an unclosed quote, is too large, or
    changes while it is read; NoSplitError when the folder has other splits than this one.
    """
    if not path.is_dir():
        return [_read_file(path, wanted)]
    if is_saved_dataset(path):
        before = combined(digests(path))
        table = read_saved_dataset(path, wanted, split, before)
        if combined(digests(path)) != before:
            raise DataError(f"{shown(path)} changed while it was read; run again when nothing writes to it")
        return [table]
    return [_read_file(file, wanted) for file in _files_of_split(path, split)]


def digests(path: Path) -> dict[str, str]:
    """The sha256 of a file, or of every file in a folder, by its name inside it; what a stage's key is
    made of. Raises DataError when the path is missing, cannot be read, or changes while it is read."""
    if not path.exists():
        raise missing(path)
    files = sorted(_visible(path)) if path.is_dir() else [path]
    try:
        return {
            file.relative_to(path).as_posix() if file != path else "": file_digest(file) for file in files
        }
    except OSError as error:
        raise DataError(f"{shown(Path(error.filename or path))} cannot be read: {error.strerror}") from error


def combined(found: Mapping[str, str]) -> str:
    """One digest of the digests of a folder."""
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def read_validated(stage_path: Path, task: str, split: str) -> "pd.DataFrame":
    """The rows of one task and split of the validation stage; columns as in ``integrations.validation``.

    Values are plain Python: str, list of str, None where nothing is; regression labels are float64 with
    NaN where a row has none.
    """
    return read_frame(stage_path / task / f"{split}.parquet")


def read_frame(path: Path) -> "pd.DataFrame":
    """A Parquet file of ours as plain Python values; columns of numbers stay numbers."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kept = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        values = column.to_numpy() if kept else column.to_pylist()
        columns[name] = pd.Series(values, dtype=None if kept else object)
    return pd.DataFrame(columns)


def rows_digest(validated: Stage, split: str | None = None) -> str:
    """A digest of the rows and labels that the validation stage holds, or of the rows of one ``split``,
    whatever rules led to them: what was made from the same rows is found again after a change of the
    rules."""
    files = validated.manifest["files"]
    if split is None:
        names = [name for name in files if name.endswith(".parquet") or name == "labels.json"]
    else:
        names = [name for name in files if name.endswith(f"/{split}.parquet")]
    return digest_of({name: files[name]["sha256"] for name in names})


def _read_file(path: Path, wanted: Collection[str] | None) -> Table:
    if not path.exists():
        raise missing(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        known = ", ".join(FORMATS)
        raise DataError(
            f"{shown(path)}: the ending '{path.suffix}' is not known; known endings: {known}"
            f"{near(path.suffix, FORMATS)}"
        )
    raw = read_raw(path)
    return _parse(form, raw, wanted)


def _parse(form: str, raw: Raw, wanted: Collection[str] | None) -> Table:
    if form == "parquet":
        return read_parquet(raw, wanted)
    if form == "jsonl":
        return read_jsonl(raw, wanted)
    if form == "conll":
        return read_conll(raw)
    return read_delimited(raw, "\t" if form == "tsv" else ",", wanted)


def _visible(folder: Path) -> Iterator[Path]:
    """Every file inside a folder that is not hidden."""
    for file in folder.rglob("*"):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _files_of_split(folder: Path, split: str) -> list[Path]:
    """The data files of a plain folder: those that carry the split in their name or folder, as in
    train-00000-of-00002.parquet, when any file does; else all."""
    files = sorted(file for file in _visible(folder) if file.suffix.lower() in FORMATS)
    if not files:
        raise DataError(f"{shown(folder)} holds no data file; known endings: {', '.join(FORMATS)}")
    named = {file: _split_of(file.relative_to(folder)) for file in files}
    if not any(named.values()):
        return files
    found = [file for file in files if named[file] == split]
    if not found:
        names = [file.relative_to(folder).as_posix() for file in files]
        raise NoSplitError(f"{shown(folder)} holds no file of the split '{split}'; it holds: {listed(names)}")
    return found


def _split_of(file: Path) -> str | None:
    words = {word for part in file.with_suffix("").parts for word in _words(part)}
    return next((split for split, names in _SPLIT_WORDS.items() if words & names), None)


def _words(name: str) -> list[str]:
    """The words of a name; train2 holds train, as train_2 does."""
    return "".join(letter if letter.isalpha() else " " for letter in name.lower()).split()
