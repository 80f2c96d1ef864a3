"""Answers of a trained model run by PyTorch: one pass of the backbone for all tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from doubleroute.data.batches import Inputs
from doubleroute.data.tokens import Packed
from doubleroute.hardware import tokens_on_gpu
from doubleroute.kinds import kind
from doubleroute.modeling.answering import ASKED, TOKENS_A_PASS, Answering, Before, in_passes
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.model import DoublerouteModel, load_model
from doubleroute.modeling.source import Source


def logits_of(
    model: DoublerouteModel,
    packed: Packed,
    tasks: Sequence[str],
    pad_id: int,
    words: Sequence[int] | None = None,
    before: Before | None = None,
) -> dict[str, list[np.ndarray]]:
    """Logits of n packed rows for each task: n float32 arrays, [outputs] or [words, outputs].

    ``words``: the number of words of each row, needed for tasks that answer for each token; words cut
    off by the length limit get the first label (O for tagging). ``before`` is called before each pass.
    """
    device = next(model.heads.parameters()).device

    def run(inputs: Inputs[np.ndarray]) -> dict[str, np.ndarray]:
        logits = model(**inputs.to(device).keywords, tasks=tasks).logits
        return {task: logits[task].float().cpu().numpy() for task in tasks}

    per_token = {task: kind(model.config.tasks[task]["kind"]).per_token for task in tasks}
    longest = int(packed.lengths.max(initial=0))
    budget = TOKENS_A_PASS if device.type == "cpu" else tokens_on_gpu(longest)
    with torch.inference_mode():
        return in_passes(run, packed, per_token, pad_id, words, before, budget)


@final
class Answerer(Answering):
    """A saved model run by PyTorch in float32, on the GPU where there is one.

    ``threads``: of the processor, as PyTorch chooses by default; they are this process's, not this
    object's. Raises ModelError when the folder does not hold a whole model.
    """

    precision = "torch"
    tokenizer: Any

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = load_model(folder)
        if torch.cuda.is_available():
            self.model.cuda()
        self.tokenizer = load_tokenizer(Source(str(folder), folder))
        self.max_tokens = self.model.config.max_tokens
        self.tasks = {
            task: {key: options[key] for key in ASKED if key in options}
            for task, options in self.model.config.tasks.items()
        }
        self.kept = {task: self.model.kept(task) for task in self.tasks}

    def _run(
        self, packed: Packed, tasks: Sequence[str], words: Sequence[int] | None
    ) -> dict[str, list[np.ndarray]]:
        return logits_of(self.model, packed, tasks, self.tokenizer.pad_token_id or 0, words)
