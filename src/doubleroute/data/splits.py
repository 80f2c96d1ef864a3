"""Seeded, disjoint splits by what a row says: the same text always lands in the same split."""

from collections.abc import Iterable, Mapping

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


def assign(keys: Iterable[str], seed: int, fractions: Mapping[str, float]) -> list[str]:
    """The split of each text. ``fractions`` gives what is split off train, as in {"test": 0.1,
    "validation": 0.1}: test from 0 upwards, validation from 1 downwards; together below 1.

    Depends on nothing but the text, the seed and the fractions: not on the order of rows, not on other
    rows, not on the task. So rows that are added move no other row, tasks that share texts share their
    test texts, and no text that was drawn for test is drawn for validation when less or no test is drawn.
    """
    test, validation = fractions.get("test", 0.0), 1 - fractions.get("validation", 0.0)
    places = (position(key, seed) for key in keys)
    return ["test" if at < test else "validation" if at >= validation else "train" for at in places]
