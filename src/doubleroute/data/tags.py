"""Tags of words: BIO (Ramshaw & Marcus 1995, IOB2 form), and older schemes read as it."""

from collections.abc import Iterable


def legal(tags: Iterable[str]) -> list[str]:
    """The BIO sequence that conlleval reads in ``tags``: an I-x that follows neither B-x nor I-x
    becomes B-x. Tags without a B- or I- in front stay and are outside of entities."""
    repaired: list[str] = []
    previous = ""
    for tag in tags:
        prefix, hyphen, inside = tag.partition("-")
        starts = hyphen and prefix == "I" and previous not in (f"B-{inside}", f"I-{inside}")
        previous = f"B-{inside}" if starts else tag
        repaired.append(previous)
    return repaired
