"""A question and its context -> packed windows: the question, and as much of the context as fits beside it.

A context that is longer than a window is read in several that overlap, the question repeated in each (Devlin
et al. 2019). Each is a packed row of its own; ``Packed.owners`` says whose. Of a window the tokens that count
are the first, which stands for "no answer", and those of the context; ``Packed.words`` numbers them from 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from doubleroute.data.batches import IGNORE
from doubleroute.data.tokens import Packed, Tokenizing

_CHUNK = 256
#: Bits of the target of a token that counts: whether the answer starts or ends there.
START, END = 1, 2
#: Ids, types, words and places of one window.
_Window = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
#: Columns of a row's logits beside those of start and end: the characters that a token stands for.
PLACES = 2


def windows(
    tokenizer: Tokenizing,
    questions: Sequence[str],
    contexts: Sequence[str],
    max_tokens: int,
    overlap: int,
) -> Packed:
    """Tokenise n questions with their contexts into windows of at most ``max_tokens``, one or more each.

    Two windows in a row share ``overlap`` tokens of the context, but at most half of what they hold of it. A
    question takes at most half of a window; what it loses by that is ``cut``. ``Packed.places`` are counted
    in the characters of the context, white space at either end of a token left out.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    made: list[_Window] = []
    owners, cut = [], []
    for first in range(0, len(questions), _CHUNK):
        chunk = list(zip(questions[first : first + _CHUNK], contexts[first : first + _CHUNK], strict=True))
        for row, encoding in enumerate(backend.encode_batch(chunk), start=first):
            found, shortened = _windows_of(encoding, contexts[row], max_tokens, overlap)
            made += found
            owners += [row] * len(found)
            cut += [shortened] * len(found)
    ids, types, words, places = zip(*made, strict=True) if made else ((), (), (), ())
    return Packed(
        ids=np.concatenate([np.zeros(0, np.int32), *ids]),
        starts=np.cumsum([0, *map(len, ids)]).astype(np.int64),
        types=np.concatenate([np.zeros(0, np.uint8), *types]),
        words=np.concatenate([np.zeros(0, np.int32), *words]),
        cut=np.array(cut, bool),
        places=np.concatenate([np.zeros((0, PLACES), np.int32), *places]),
        owners=np.array(owners, np.int64),
    )


def _windows_of(encoding: Any, context: str, max_tokens: int, overlap: int) -> tuple[list[_Window], bool]:
    """The windows of one question and context: ids, types, words and places of each; whether the question was
    cut."""
    text = np.array([-1 if each is None else each for each in encoding.sequence_ids], np.int64)
    places = np.array([_trimmed(context, *each) for each in encoding.offsets], np.int32).reshape(-1, PLACES)
    counts = (text == 1) & (places[:, 1] > places[:, 0])
    places[~counts] = -1
    ids, types = np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.uint8)
    special, asked, given = (np.flatnonzero(text == each) for each in (-1, 0, 1))
    most = (max_tokens - len(special)) // 2
    around = np.concatenate([special, asked[:most]])
    room = max_tokens - len(around)
    step = room - min(overlap, room // 2)
    made: list[_Window] = []
    for begin in range(0, max(1, len(given) - room + step), step):
        # The layout is the tokenizer's own: what is left out leaves the order as it was.
        kept = np.sort(np.concatenate([around, given[begin : begin + room]]))
        counted = counts[kept]
        counted[:1] = True
        words = np.where(counted, np.cumsum(counted) - 1, -1).astype(np.int32)
        of_kept = places[kept]
        of_kept[:1] = -1  # by this the first token of a window is known
        made.append((ids[kept], types[kept], words, of_kept))
    return made, len(asked) > most


def _trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """Characters of a token without the white space that byte-level tokenizers count as its part."""
    inside = context[start:end]
    kept = inside.strip()
    begin = start + inside.find(kept)
    return begin, begin + len(kept)


def counted(packed: Packed) -> list[int]:
    """How many tokens of each window count."""
    assert packed.words is not None
    ends = np.cumsum(np.concatenate([[0], packed.words >= 0]))
    found: list[int] = np.diff(ends[packed.starts]).tolist()
    return found


def targets(packed: Packed, answers: Sequence[np.ndarray]) -> np.ndarray:
    """What is to be learned of each token of the windows, beside the ids: int64 [tokens].

    ``answers``: of each of n rows the characters int64 [answers, 2] of its answers, of which the first is
    learned. IGNORE where a token does not count; else the sum of START where it is the first of the answer
    and END where it is the last. In a window that does not hold the whole answer it is the first token that
    has both. Where no token is part of the answer nothing is learned.
    """
    assert packed.words is not None
    assert packed.places is not None
    assert packed.owners is not None
    found = np.where(np.asarray(packed.words) >= 0, 0, IGNORE).astype(np.int64)
    ends = np.searchsorted(packed.owners, np.arange(len(answers)), side="right")
    first = 0
    for last, given in zip(ends.tolist(), answers, strict=True):
        whole = slice(int(packed.starts[first]), int(packed.starts[last]))
        wanted = _tokens_around(np.asarray(packed.places[whole]), given)
        for window in range(first, last):
            part = slice(int(packed.starts[window]), int(packed.starts[window + 1]))
            if wanted is None:
                found[part] = IGNORE
                continue
            places = np.asarray(packed.places[part])
            begins, closes = (np.flatnonzero(places[:, side] == wanted[side]) for side in (0, 1))
            if len(begins) and len(closes):
                found[part][begins[0]] += START
                found[part][closes[-1]] += END
            else:
                found[part][0] = START + END
        first = last
    return found


def _tokens_around(places: np.ndarray, answers: np.ndarray) -> tuple[int, int] | None:
    """The characters of the tokens that hold the first answer, (-2, -2) where there is none; None where no
    token has a part of it."""
    if not len(answers):
        return -2, -2
    start, end = answers[0]
    inside = (places[:, 1] > start) & (places[:, 0] < end) & (places[:, 0] >= 0)
    return (int(places[inside, 0].min()), int(places[inside, 1].max())) if inside.any() else None


def by_row(logits: Sequence[np.ndarray], packed: Packed, rows: int) -> list[np.ndarray]:
    """Logits of the tokens that count, float32 [counted, 2] a window -> one array [tokens, 4] for each of the
    ``rows``: its windows one after the other, of each token the logits of start and end and the characters
    that it stands for; of the first of a window these are -1."""
    assert packed.words is not None
    assert packed.places is not None
    assert packed.owners is not None
    parts: list[list[np.ndarray]] = [[np.zeros((0, 2 + PLACES), np.float32)] for _ in range(rows)]
    for window, (values, owner) in enumerate(zip(logits, packed.owners.tolist(), strict=True)):
        part = slice(int(packed.starts[window]), int(packed.starts[window + 1]))
        places = packed.places[part][packed.words[part] >= 0]
        parts[owner].append(np.concatenate([values, places.astype(np.float32)], axis=1))
    return [np.concatenate(each) for each in parts]
