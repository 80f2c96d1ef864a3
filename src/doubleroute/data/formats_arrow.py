"""Readers of Parquet files and of folders that Hugging Face `datasets` wrote with save_to_disk."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from doubleroute.data.raw import MAX_DECODED_BYTES, MAX_ROWS, Raw, Table, listed, near, short, shown
from doubleroute.errors import DataError, NoSplitError

_BATCH_ROWS = 1024


def read_parquet(raw: Raw, wanted: Collection[str] | None) -> Table:
    """A Parquet file, decoded in batches up to a limit: a small file can hold a hundred million rows.
    Class labels that `datasets` wrote as numbers become their names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = shown(raw.path)
    try:
        file = pq.ParquetFile(pa.BufferReader(raw.data))
        names = tuple(file.schema_arrow.names)
        chosen = [column for column in names if wanted is None or column in wanted]
        twice = next((column for column in chosen if chosen.count(column) > 1), None)
        if twice is not None:
            raise DataError(f"{name} has column '{short(twice)}' twice; rename one of them")
        _check_declared(file.metadata, set(chosen), name)
        values: dict[str, list[Any]] = {column: [] for column in chosen}
        decoded = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=chosen):
            decoded += batch.nbytes
            if decoded > MAX_DECODED_BYTES:
                raise DataError(
                    f"{name} decodes to more than {MAX_DECODED_BYTES / 2**30:.0f} GiB; split it into "
                    "smaller files"
                )
            for column in chosen:
                values[column] += _values(batch.column(column), column, name)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: a text column holds bytes that are not UTF-8: {error.reason}") from None
    except (pa.ArrowException, OSError) as error:
        whole = raw.data[:4] == raw.data[-4:] == b"PAR1"
        why = f"its content is damaged ({error})" if whole else _truncated(raw.data)
        raise DataError(f"{name} is not a whole Parquet file: {why}; write or copy it again") from None
    count = file.metadata.num_rows
    if not count:
        raise DataError(f"{name} has columns but no rows")
    _name_classes(values, file.schema_arrow.metadata)
    return Table(raw.path, "parquet", names, values, list(range(1, count + 1)), [], raw.digest)


def _values(cells: Any, column: str, name: str) -> list[Any]:
    """The cells of an Arrow array as Python values."""
    try:
        found: list[Any] = cells.to_pylist()
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError) as error:  # such as a time after the year 9999
        raise DataError(
            f"{name}: column '{short(column)}' holds a value of type {cells.type} that cannot be read: "
            f"{str(error).splitlines()[0]}; write it as text, or leave the column out"
        ) from None
    return found


def _truncated(data: bytes) -> str:
    if data[:4] == b"PAR1":
        return "it begins as one, but its end is missing: it is truncated"
    return "it does not begin with PAR1; it is something else"


def _check_declared(metadata: Any, chosen: set[str], name: str) -> None:
    """Refuse what the footer itself says is too large, before anything is decoded."""
    if metadata.num_rows > MAX_ROWS:
        raise DataError(f"{name} has {metadata.num_rows:,} rows; split it into files of at most {MAX_ROWS:,}")
    size = 0
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            size += chunk.total_uncompressed_size if chunk.path_in_schema.split(".")[0] in chosen else 0
    if size > MAX_DECODED_BYTES:
        raise DataError(
            f"{name} holds {size / 2**30:.1f} GiB in the columns that are read; split it into files below "
            f"{MAX_DECODED_BYTES / 2**30:.0f} GiB"
        )


def _name_classes(values: dict[str, list[Any]], metadata: Mapping[bytes, bytes] | None) -> None:
    """Turn numbers into names where the schema's `huggingface` metadata says ClassLabel; -1 is no label."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        items = features.items()
    except (KeyError, ValueError, TypeError, AttributeError):
        return
    for column, feature in items:
        if column not in values or not isinstance(feature, dict):
            continue
        inner = feature.get("feature", feature)
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            names = dict(enumerate(inner["names"])) | {-1: None}
            values[column] = [_named(value, names) for value in values[column]]


def _named(value: Any, names: Mapping[int, str | None]) -> Any:
    if isinstance(value, list):
        return [names.get(item, item) for item in value]
    return names.get(value, value)


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` wrote this folder: a Dataset or a DatasetDict."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def read_saved_dataset(folder: Path, wanted: Collection[str] | None, split: str, digest: str) -> Table:
    """One split of a folder that `save_to_disk` wrote. Raises NoSplitError when it is not there."""
    import pyarrow as pa
    from datasets import Dataset

    folder = _saved_split(folder, split)
    name = shown(folder)
    try:
        dataset = Dataset.load_from_disk(str(folder))
        names = tuple(dataset.column_names)
        chosen = [column for column in names if wanted is None or column in wanted]
        if len(dataset) > MAX_ROWS:
            raise DataError(f"{name} has {len(dataset):,} rows; split it into parts of at most {MAX_ROWS:,}")
        table = dataset.select_columns(chosen).with_format("arrow")[:]
        values = {column: _values(table.column(column), column, name) for column in chosen}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{name} is not a whole folder of save_to_disk: {str(error).splitlines()[0]}; save it again"
        ) from None
    if not len(dataset):
        raise DataError(f"{name} has columns but no rows")
    _name_classes(values, dataset.data.table.schema.metadata)
    return Table(folder, "datasets", names, values, list(range(1, len(dataset) + 1)), [], digest)


def _saved_split(folder: Path, split: str) -> Path:
    if not (folder / "dataset_dict.json").is_file():
        return folder
    splits = sorted(entry.name for entry in folder.iterdir() if (entry / "state.json").is_file())
    aliases = {"validation": ("validation", "valid", "dev", "val")}.get(split, (split,))
    found = next((name for name in aliases if name in splits), None)
    if found is None:
        raise NoSplitError(
            f"{shown(folder)} has no split '{split}'; it has: {listed(splits)}{near(split, splits)}; name a "
            f"folder inside it, such as {shown(folder / (splits or ['train'])[0])}"
        )
    return folder / found
