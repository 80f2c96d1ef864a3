"""What is compared: rows of one side, reference or current, with what is known about each."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TaskRows:
    """What one task says about rows of a sample: ``rows`` [k], their indices in the sample; ``labels``
    [k], in the plain form of the task's kind, None where a row has none; ``answers`` [k], the champion's
    (see ``kinds``), None where it was not asked: it learned from the row, and its answer would flatter it;
    empty when it was asked about none."""

    kind: str
    names: list[str]
    rows: np.ndarray
    labels: list[Any]
    answers: list[dict[str, Any] | None] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """n rows of one side.

    ``embeddings`` [n, hidden] float32, mean-pooled states of the pretrained backbone; ``texts`` [n];
    ``tokens`` [n], sub-words of each row after cutting; ``unknown`` [n], share of unknown sub-words in
    [0, 1]; ``segments``: for each column that slices a task, [n] values or None; ``times`` [n], UTC to
    the second, or None; ``places`` [n], "file:row".
    """

    embeddings: np.ndarray
    texts: list[str]
    tokens: np.ndarray
    unknown: np.ndarray
    segments: dict[str, list[str | None]]
    times: list[str | None]
    places: list[str]
    tasks: dict[str, TaskRows]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "Sample":
        """These rows (int [k], rising) of the sample, without what its tasks say about them."""

        def of(values: list[Any]) -> list[Any]:
            return [values[row] for row in rows]

        return Sample(
            self.embeddings[rows],
            of(self.texts),
            self.tokens[rows],
            self.unknown[rows],
            {name: of(values) for name, values in self.segments.items()},
            of(self.times),
            of(self.places),
            {},
        )
