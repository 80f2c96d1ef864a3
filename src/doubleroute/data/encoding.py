"""Bytes -> text, or an error that says which encoding it looks like and how to convert it."""

import codecs

from doubleroute.errors import DataError

_BINARY = {
    b"PAR1": "a Parquet file; give it the ending .parquet",
    b"\x1f\x8b": "compressed with gzip; unpack it with `gunzip FILE`",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Office document; save the sheet as CSV UTF-8",
    b"%PDF": "a PDF; data files are CSV, TSV, JSONL, Parquet or CoNLL",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"BZh": "compressed with bzip2; unpack it with `bunzip2 FILE`",
    b"\xfd7zXZ": "compressed with xz; unpack it with `unxz FILE`",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it with `unzstd FILE`",
}


def decode(data: bytes, name: str) -> str:
    """The text of a file's bytes; a UTF-8 byte order mark is removed.

    Raises DataError, naming the file and line, for UTF-16, Latin-1 and other encodings, for binary
    files and for NUL bytes.
    """
    utf16 = _utf16(data)
    if utf16:
        raise DataError(f"{name} looks like {utf16}, not UTF-8; convert it: `{_iconv(utf16)}`")
    for magic, what in _BINARY.items():
        if data.startswith(magic):
            raise DataError(f"{name} is {what}")
    at = data.find(b"\0")
    if at >= 0:
        controls = sum(byte < 32 and byte not in b"\t\n\r\f\0" for byte in data[:4096])
        if controls > 8:
            raise DataError(f"{name} is a binary file; data files are CSV, TSV, JSONL, Parquet or CoNLL")
        raise DataError(
            f"{name} line {_line(data, at)}: holds a NUL byte; remove it: `tr -d '\\000' < FILE > NEW`"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if data.startswith(codecs.BOM_UTF8) else 0)
        raise DataError(f"{name} line {_line(data, offset)}: {_not_utf8(data, error, offset)}") from None


def _utf16(data: bytes) -> str | None:
    """UTF-16 or UTF-32 by its byte order mark, or by every other byte of the start being NUL."""
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "UTF-32"),
        (codecs.BOM_UTF16_LE, "UTF-16"),
        (codecs.BOM_UTF16_BE, "UTF-16"),
    ):
        if data.startswith(mark):
            return encoding
    start = data[:4096]
    even, odd = start[::2], start[1::2]
    if odd and odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
        return "UTF-16LE"
    if even and even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "UTF-16BE"
    return None


def _not_utf8(data: bytes, error: UnicodeDecodeError, at: int) -> str:
    byte = f"byte 0x{data[at]:02x} is not UTF-8"
    if error.reason == "unexpected end of data" and at >= len(data) - 4:
        return f"{byte}: the file ends inside a character; it seems to be cut"
    replaced = data.decode("utf-8", "replace")
    broken = replaced.count("\ufffd")
    whole = sum(character > "\x7f" for character in replaced) - broken
    if whole > broken:
        return f"{byte}, though most of the file is; the line is damaged: write it again as UTF-8"
    high = sum(byte > 127 for byte in data)
    if high > 0.3 * len(data):
        return (
            f"{byte}; it looks like a legacy encoding such as GB18030, Shift-JIS or Windows-1251; convert "
            f"it: `{_iconv('GB18030')}`"
        )
    encoding = "WINDOWS-1252" if any(0x80 <= byte <= 0x9F for byte in data) else "ISO-8859-1"
    return f"{byte}; the file looks like Latin-1 ({encoding}); convert it: `{_iconv(encoding)}`"


def _iconv(encoding: str) -> str:
    return f"iconv -f {encoding} -t UTF-8 FILE > NEW"


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1
