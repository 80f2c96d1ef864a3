"""What tokenising costs against the usual call of a tokenizer; the ids are the same.

python benchmarks/tokenising.py [--rounds 5]
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one thread on both sides
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from measure import OTHER, Line, tell
from reviews import SOURCE, read

from doubleroute.data.tokens import encode_texts
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.source import locate


def main() -> None:
    """Print a line for short texts and two for long reviews."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    tokenizer = load_tokenizer(locate(SOURCE, Path()))
    texts = {source: found[0] for source, found in read().items()}
    cases = (("rotten_tomatoes", 128, 1.8), ("imdb", 128, 1.6), ("imdb", 256, None))
    for source, most, least in cases:
        mine = texts[source]
        ours: list[float] = []
        usual: list[float] = []
        for _ in range(rounds):
            usual.append(seconds(partial(tokenizer, mine, truncation=True, max_length=most)))
            ours.append(seconds(partial(encode_texts, tokenizer, mine, most)))
        ids = [each for row in tokenizer(mine, truncation=True, max_length=most)["input_ids"] for each in row]
        same = bool(np.array_equal(ids, encode_texts(tokenizer, mine, most).ids))
        what = f"tokenising {len(mine):,} reviews of {source}, at most {most} tokens"
        note = "the same ids" if same else OTHER
        tell(Line(what, "tokenizer(texts, truncation=True)", "s", ours, usual, least, note=note))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
