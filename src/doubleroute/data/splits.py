"""Seeded, disjoint splits by what a row says: the same text always lands in the same split."""

from collections.abc import Iterable, Sequence

#: Protection of splits, the most protected first: a copy of a text in a later one is the leak.
PROTECTED = ("test", "validation", "train")


def text_key(text: str, pair: str | None = None) -> str:
    """What two copies of a text share: case and white space do not count; both texts of a pair do."""
    key = " ".join(text.casefold().split())
    return key if pair is None else f"{key}\0{' '.join(pair.casefold().split())}"


def position(key: str, seed: int) -> float:
    """Where a text stands in [0, 1): uniform over texts (XXH3 of the key, seeded), fixed for a text."""
    import xxhash

    digest: int = xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"), seed=seed)
    return (digest >> 11) * 2.0**-53


def assign(keys: Iterable[str], seed: int, fractions: Sequence[tuple[str, float]]) -> list[str]:
    """The split of each text. ``fractions`` gives what is split off train, in order from 0 upwards, as in
    [("test", 0.1), ("validation", 0.1)]; together below 1.

    Depends on nothing but the text, the seed and the fractions: not on the order of rows, not on other
    rows, not on the task. So rows that are added move no other row, and tasks that share texts share
    their test texts.
    """
    bounds: list[tuple[float, str]] = []
    upper = 0.0
    for split, fraction in fractions:
        upper += fraction
        bounds.append((upper, split))
    return [_split(position(key, seed), bounds) for key in keys]


def _split(at: float, bounds: Sequence[tuple[float, str]]) -> str:
    return next((split for upper, split in bounds if at < upper), "train")
