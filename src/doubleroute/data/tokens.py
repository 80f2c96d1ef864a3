"""Text -> token ids, packed: the ids of all rows one after the other in a flat array, no padding.

A row of tokens (tagging) is read as its tokens joined by spaces; which word a sub-word belongs to is
found by character offsets, so that every kind of task reads the same ids for the same text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from doubleroute.errors import ModelError

_CHUNK = 2048
#: Characters a token, on average, of a text beyond which it is tokenised in part; and how many texts must be
#: so long for that, of which _CHECKED are tokenised whole too and must have the same ids.
_CHARACTERS, _LEAST_LONG, _CHECKED = 6, 64, 8
_ARRAYS = ("ids", "starts", "types", "words", "cut", "places", "owners")
#: Bytes up to which a stored array is read and not mapped.
_SMALL = 1 << 20


class Tokenizing(Protocol):
    """What reading texts asks of a tokenizer: a fast one of transformers, or a ``FileTokenizer``."""

    @property
    def backend_tokenizer(self) -> Any:
        """The ``tokenizers.Tokenizer``; its padding and truncation are set by whoever reads with it."""

    @property
    def pad_token_id(self) -> int | None:
        """What fills up short rows; None where the tokenizer has no such token."""


@dataclass(frozen=True)
class FileTokenizer:
    """A tokenizer that the library ``tokenizers`` reads by itself, from what ``write_tokenizer`` wrote."""

    backend_tokenizer: Any
    pad_token_id: int


def write_tokenizer(tokenizer: Tokenizing, file: Path) -> None:
    """Write a tokenizer as it is in memory: of some, transformers makes another one than their file says. The
    id that fills up short rows is written as its padding."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.enable_padding(pad_id=tokenizer.pad_token_id or 0)
    backend.save(str(file))
    backend.no_padding()


def read_tokenizer(file: Path) -> FileTokenizer:
    """Read what ``write_tokenizer`` wrote. Raises ModelError for another file."""
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception for damaged files
        raise ModelError(f"{file} is no tokenizer: {error}") from error
    if backend.padding is None:
        raise ModelError(f"{file} does not say what fills up short rows; run `doubleroute export` again")
    return FileTokenizer(backend, int(backend.padding["pad_id"]))


@dataclass(frozen=True)
class Packed:
    """Token ids of n rows.

    ids: int32 [tokens]; starts: int64 [n + 1], row i is ids[starts[i]:starts[i + 1]]; types: uint8
    [tokens], the segment, for pairs; words: int32 [tokens], the word whose first sub-word this is, else
    -1; cut: bool [n], the row was longer than allowed. Of windows (``data.windows``) also places: int32
    [tokens, 2], the characters of the context that a token stands for, else -1; owners: int64 [n], rising,
    the row that a window is one of.
    """

    ids: np.ndarray
    starts: np.ndarray
    types: np.ndarray | None
    words: np.ndarray | None
    cut: np.ndarray
    places: np.ndarray | None = None
    owners: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row: int64 [n]."""
        return np.diff(self.starts)

    def save(self, folder: Path) -> None:
        """Write the arrays as .npy files."""
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None:
                np.save(folder / f"{name}.npy", value, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "Packed":
        """What ``save`` wrote, as ``stored_array`` gives it."""
        files = {name: folder / f"{name}.npy" for name in _ARRAYS}
        arrays: dict[str, Any] = {
            name: stored_array(file) if file.is_file() else None for name, file in files.items()
        }
        return cls(**arrays)


def stored_array(file: Path) -> np.ndarray:
    """An array of a .npy file, not to be written to: mapped into memory, a small one read, because a mapping
    keeps a file open as long as the array is there, and many tasks have many arrays."""
    found: np.ndarray = np.load(file, mmap_mode="r" if file.stat().st_size > _SMALL else None)
    found.flags.writeable = False
    return found


def said(packed: Packed, where: slice) -> tuple[bytes, bytes]:
    """What the backbone reads of the row at ``where``: its ids and, if it has a second segment, its types."""
    ids = np.asarray(packed.ids[where]).tobytes()
    if packed.types is None or not packed.types[where].any():
        return ids, b""
    return ids, np.asarray(packed.types[where]).tobytes()


def join_tokens(tokens: Sequence[str]) -> str:
    """The text that a row of tokens is read as."""
    return " ".join(tokens)


def word_spans(text: str, tokens: Sequence[str] | None = None) -> np.ndarray:
    """Character spans of the words of a text: int64 [words, 2].

    With ``tokens`` those of ``join_tokens(tokens)``, else of the runs between white space.
    """
    if tokens is None:
        return np.array([match.span() for match in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)
    lengths = np.array([len(token) for token in tokens], np.int64)
    ends = np.cumsum(lengths + 1) - 1
    return np.stack([ends - lengths, ends], axis=1).reshape(-1, 2)


def encode_texts(
    tokenizer: Tokenizing,
    texts: Sequence[str],
    max_tokens: int,
    pairs: Sequence[str] | None = None,
    spans: Sequence[np.ndarray] | None = None,
) -> Packed:
    """Tokenise n texts (or pairs) with special tokens, cut to ``max_tokens``.

    ``spans``: for each row the character spans of the words of its (first) text, [words, 2], to fill
    ``Packed.words``. A tokenizer reads a whole text and then cuts the ids: of many long texts only the
    beginning is read (``_beginnings``). Where it reads every word by itself, a word that comes again is not
    read again (``_by_words``).
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(max_length=max_tokens, strategy="longest_first")
    whole = texts
    if pairs is None:
        texts = _beginnings(backend, texts, max_tokens)
        if spans is None and _reads_words_alone(backend, max_tokens):
            return _by_words(backend, texts, whole, max_tokens)
    encode = backend.encode_batch_fast if spans is None else backend.encode_batch  # fast: without offsets
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    words: list[np.ndarray] = []
    cut = np.zeros(len(texts), bool)
    for first in range(0, len(texts), _CHUNK):
        chunk: list[Any] = list(texts[first : first + _CHUNK])
        if pairs is not None:
            chunk = list(zip(chunk, pairs[first : first + _CHUNK], strict=True))
        for row, encoding in enumerate(encode(chunk), start=first):
            if texts[row] is not whole[row] and not encoding.overflowing:  # few tokens for its characters
                encoding = backend.encode(whole[row])
            ids.append(np.array(encoding.ids, np.int32))
            cut[row] = bool(encoding.overflowing)
            if pairs is not None:
                types.append(np.array(encoding.type_ids, np.uint8))
            if spans is not None:
                words.append(_first_subwords(encoding, spans[row]))
    return _packed(ids, types, words, np.array([len(each) for each in ids], np.int64), cut)


def _packed(
    ids: Sequence[np.ndarray],
    types: Sequence[np.ndarray],
    words: Sequence[np.ndarray],
    lengths: np.ndarray,
    cut: np.ndarray,
) -> Packed:
    return Packed(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        types=np.concatenate(types) if types else None,
        words=np.concatenate(words) if words else None,
        cut=cut,
    )


def _reads_words_alone(backend: Any, max_tokens: int) -> bool:
    """Whether a text's ids are those of what stands between its spaces, one after the other.

    So it is with BERT's tokenizer: its normalizer goes by characters, its words end at white space, and
    WordPiece reads each word by itself. A token of the user's that holds a space would be torn apart.
    """
    parts = (backend.normalizer, backend.pre_tokenizer, backend.model)
    kinds = tuple(type(each).__name__ for each in parts)
    added = backend.get_added_tokens_decoder().values()
    return (
        kinds == ("BertNormalizer", "BertPreTokenizer", "WordPiece")
        and not any(" " in token.content for token in added)
        and len(backend.encode("").ids) < max_tokens
    )


def _by_words(backend: Any, texts: Sequence[str], whole: Sequence[str], max_tokens: int) -> Packed:
    """The texts, or where those give too few tokens the ``whole`` ones, from the ids of their words."""
    known: dict[str, list[int]] = {}
    empty, word = (backend.encode(text).ids for text in ("", "a"))
    before = next(
        (place for place, (a, b) in enumerate(zip(empty, word, strict=False)) if a != b), len(empty)
    )
    head, tail, room = empty[:before], empty[before:], max_tokens - len(empty)
    backend.no_truncation()

    def ids_of(rows: Sequence[str]) -> list[list[int]]:
        split = [text.split(" ") for text in rows]
        new = list(set().union(*split) - known.keys())
        known.update(zip(new, (each.ids for each in _bare(backend, new)), strict=True))
        return [list(chain.from_iterable(map(known.__getitem__, row))) for row in split]

    ids, lengths, cut = [], np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    for first in range(0, len(texts), _CHUNK):
        flat: list[int] = []
        for row, found in enumerate(ids_of(texts[first : first + _CHUNK]), start=first):
            if texts[row] is not whole[row] and len(found) <= room:  # few tokens for its characters
                (found,) = ids_of([whole[row]])
            cut[row] = len(found) > room
            flat += head + found[:room] + tail
            lengths[row] = min(len(found), room) + len(empty)
        ids.append(np.array(flat, np.int32))
    return _packed(ids, [], [], lengths, cut)


def _bare(backend: Any, words: Sequence[str]) -> list[Any]:
    return list(backend.encode_batch_fast(words, add_special_tokens=False))


def _beginnings(backend: Any, texts: Sequence[str], max_tokens: int) -> Sequence[str]:
    """The texts [n], long ones cut behind a word after _CHARACTERS characters a token.

    That leaves the ids before the cut as they are where a tokenizer splits at white space; whether this one
    does is seen on _CHECKED of the texts, and if not, all stay whole.
    """
    most = _CHARACTERS * max_tokens
    long = [row for row, text in enumerate(texts) if len(text) > 1.2 * most]
    if len(long) < _LEAST_LONG:
        return texts
    found = list(texts)
    for row in long:
        end = texts[row].rfind(" ", 0, most)
        if end > 0:
            found[row] = texts[row][:end]
    for row in long[:: -(-len(long) // _CHECKED)]:
        beginning = backend.encode(found[row])
        if beginning.overflowing and beginning.ids != backend.encode(texts[row]).ids:
            return texts
    return found


def _first_subwords(encoding: Any, spans: np.ndarray) -> np.ndarray:
    """For each sub-word of the first text the index of the word that it begins, else -1: int32 [tokens]."""
    places = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    # Places in the second text of a pair are counted from its own beginning.
    real = (places[:, 1] > places[:, 0]) & np.array([text == 0 for text in encoding.sequence_ids], bool)
    # The last character decides: byte-level tokenizers may count the space before a word as its part.
    word = np.searchsorted(spans[:, 0], places[:, 1] - 1, side="right") - 1
    found = np.full(len(places), -1, np.int32)
    seen, position = np.unique(np.where(real, word, -1), return_index=True)
    keep = seen >= 0
    found[position[keep]] = seen[keep]
    return found
