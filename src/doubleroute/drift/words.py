"""Which words one set of texts uses more often than another, found on one half and checked on the other.

Words are cut at white space and punctuation; in scripts that write without spaces (Chinese, Japanese,
Thai, ...) every two neighbouring characters count as a word.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from doubleroute.corrections import holm

#: Words named each way.
MOST = 20
_CANDIDATES = 40
#: Characters of a text that are read: what lies beyond is rarely seen by the model either.
READ = 1000
_LONGEST = 60
#: Of a text without spaces so many characters are read: each is about a word.
_UNSPACED_READ = 200
_PSEUDO_WORDS = 1000.0
_ALPHA = 0.05
#: A change that is smaller tells a reader nothing, however certain it is: the logarithm of 1.25.
_LEAST_CHANGE = math.log(1.25)
# Han, kana, Thai, Lao, Tibetan, Myanmar, Khmer: scripts without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)


@dataclass(frozen=True)
class Counted:
    """How often each word stands in each of n texts: for k pairs of a text and a word, ``rows`` [k],
    ``words`` [k] (indices into ``names``) and ``counts`` [k]; ``lengths`` [n], words of each text."""

    names: list[str]
    rows: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray


class _Usage(NamedTuple):
    """What one side does with every word: occurrences, texts that hold it, words in all, variance of
    the logarithm of its rate."""

    times: np.ndarray
    texts: np.ndarray
    total: float
    variance: np.ndarray


def count_words(texts: Sequence[str]) -> Counted:
    """Count the words at the beginning of each text, without regard to case: of its first READ characters,
    or _UNSPACED_READ where it has no spaces."""
    folded = [_opening(text).casefold() for text in texts]
    chars = set().union(*folded)
    table: dict[int, str] = {}
    for char in chars:
        kind = unicodedata.category(char)
        if kind == "So":  # an emoji says something by itself
            table[ord(char)] = f" {char} "
        elif kind[0] in "PSZC" and char not in "'’":
            table[ord(char)] = " "
    unspaced = any(map(_UNSPACED.match, chars))
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    ids = [[index[word] for word in _split(text.translate(table), unspaced)] for text in folded]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    words = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
    names, merged = _without_quotes(list(index))
    words = merged[words] if len(words) else words
    keys = np.repeat(np.arange(len(ids)), lengths) * max(1, len(names)) + words
    pairs, counts = np.unique(keys[words >= 0], return_counts=True)
    rows, words = np.divmod(pairs, max(1, len(names)))
    return Counted(names, rows, words, counts.astype(np.float64), lengths)


def moved_words(counted: Counted, current: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """The words that ``current`` texts use more and less often than the others, at most MOST each way.

    ``current`` and ``held`` are masks [n]. Candidates come from the texts that are not held out, by the
    log-odds with an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008, equations 16 to 22);
    their variance is taken over texts, because words come in bursts. A word is named when its direction
    shows in the held-out texts too, Holm-corrected over all candidates, and when it is used at least 1.25
    times as often, or as rarely, in both halves. All figures are those of the held-out texts:
    ``reference`` and ``current`` per 1,000 words; ``rows``, the texts of both sides that hold the word;
    ``times`` as often, with its 95% interval. ``fitted_times`` is what the fitting half said.
    """
    fit, check = ([_usage(counted, mask & side) for side in (~current, current)] for mask in (~held, held))
    if not all(side.total for side in (*fit, *check)):
        return {"candidates": 0, "more": [], "less": []}
    size, deviation = _log_odds(*fit)
    score = size / deviation
    order = np.argsort(np.where(np.abs(size) > _LEAST_CHANGE, score, 0.0), kind="stable")
    few = [*order[::-1][:_CANDIDATES], *order[:_CANDIDATES]]
    candidates = [
        word for word in dict.fromkeys(few) if abs(score[word]) > 2 and abs(size[word]) > _LEAST_CHANGE
    ]
    seen, spread = _log_odds(*check)
    signs = np.sign(size)
    chance = {word: _tail(signs[word] * seen[word] / spread[word]) for word in candidates}
    adjusted = dict(zip(chance, holm(list(chance.values())), strict=True))
    holding = [word for word in candidates if adjusted[word] <= _ALPHA]
    ways: dict[str, Any] = {"candidates": len(candidates), "more": [], "less": []}
    for word in sorted(holding, key=lambda word: (chance[word], counted.names[word])):
        way = ways["more" if signs[word] > 0 else "less"]
        if len(way) < MOST and abs(seen[word]) > _LEAST_CHANGE:
            way.append(_entry(counted.names[word], word, check, seen[word], spread[word], size[word]))
    return ways


def _opening(text: str) -> str:
    start = text[:READ]
    unspaced = not start.isascii() and sum(map(len, _UNSPACED.findall(start[:50]))) > 25
    return start[:_UNSPACED_READ] if unspaced else start


def _split(text: str, unspaced: bool) -> list[str]:
    if not unspaced:
        return text.split()
    found: list[str] = []
    place = 0
    for run in _UNSPACED.finditer(text):
        found += text[place : run.start()].split()
        letters = run.group()
        found += map("".join, pairwise(letters)) if len(letters) > 1 else [letters]
        place = run.end()
    return found + text[place:].split()


def _without_quotes(raw: list[str]) -> tuple[list[str], np.ndarray]:
    """The words without quotation marks at their ends, and the place of each raw word among them; -1
    where nothing is left."""
    index: dict[str, int] = {}
    merged = np.empty(len(raw), np.int64)
    for place, word in enumerate(raw):
        bare = word.strip("'’")[:_LONGEST]
        merged[place] = index.setdefault(bare, len(index)) if bare else -1
    return list(index), merged


def _usage(counted: Counted, chosen: np.ndarray) -> _Usage:
    """Sums over the chosen texts, and the variance of log(rate) by the delta method for a ratio of sums
    over texts (Cochran 1977, section 2.11): sum (y - r n)^2 / (sum y)^2."""
    pairs = chosen[counted.rows]
    words, counts = counted.words[pairs], counted.counts[pairs]
    size = len(counted.names)
    lengths = counted.lengths[chosen].astype(np.float64)
    total = float(lengths.sum())
    times = np.bincount(words, counts, size)
    squares = np.bincount(words, counts**2, size)
    products = np.bincount(words, counts * counted.lengths[counted.rows[pairs]], size)
    rate = times / max(1.0, total)
    spread = squares - 2 * rate * products + rate**2 * float((lengths**2).sum())
    variance = np.maximum(spread, 0) / np.maximum(times, 1.0) ** 2
    return _Usage(times, np.bincount(words, minlength=size), total, variance)


def _log_odds(reference: _Usage, current: _Usage) -> tuple[np.ndarray, np.ndarray]:
    """The log-odds ratio of current against reference for every word, and its standard deviation, which
    is never below the one of the Dirichlet model."""
    strength = min(_PSEUDO_WORDS, 0.1 * min(reference.total, current.total))
    pooled = (reference.times + current.times) / (reference.total + current.total)
    prior = strength * pooled + 1e-9
    odds = []
    variance = np.zeros(len(prior))
    for side in (reference, current):
        times = side.times + prior
        odds.append(np.log(times / np.maximum(side.total + strength - times, 1e-9)))
        variance += np.maximum(1 / times, side.variance)
    return odds[1] - odds[0], np.sqrt(variance)


def _tail(score: float) -> float:
    """P(Z > score) of a standard normal."""
    return 0.5 * math.erfc(score / math.sqrt(2))


def _entry(
    name: str, word: int, sides: Sequence[_Usage], seen: float, spread: float, fitted: float
) -> dict[str, Any]:
    rates = {
        side: round(1000 * float(usage.times[word]) / usage.total, 4)
        for side, usage in zip(("reference", "current"), sides, strict=True)
    }
    texts = [int(usage.texts[word]) for usage in sides]
    bounds = {"low": seen - 1.96 * spread, "high": seen + 1.96 * spread}
    ends = {key: round(math.exp(min(value, 50.0)), 4) for key, value in bounds.items()}
    return {
        "word": name,
        **rates,
        "rows": texts,
        "times": round(math.exp(seen), 4),
        **ends,
        "fitted_times": round(math.exp(fitted), 4),
    }
