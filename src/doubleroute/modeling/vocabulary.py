"""The table of word embeddings cut to the tokens that a fit reads.

A step has a gradient for a few hundred of the table's rows, but norm, clipping and AdamW go over all of them,
and AdamW keeps two more numbers for each: with the 250,000 tokens of multilingual backbones that is most of a
small one's memory and much of its step. What no text of a project holds is left out while a fit lasts.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class _Cut(nn.Module):
    """Stands where a table of embeddings was and has some of its rows."""

    places: Tensor

    def __init__(self, table: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(table.weight.detach()[used].clone())
        # What models ask of a table besides is what the whole one says.
        self.num_embeddings, self.embedding_dim = table.num_embeddings, table.embedding_dim
        self.padding_idx = table.padding_idx
        # A token that nobody announced has no place: looking it up is an IndexError.
        places = torch.full((table.num_embeddings,), -1, device=used.device)
        places[used] = torch.arange(len(used), device=used.device)
        self.register_buffer("places", places, persistent=False)
        self.padding = None if table.padding_idx is None else int(places[table.padding_idx])

    def forward(self, ids: Tensor) -> Tensor:
        """[...] token ids -> [..., hidden]."""
        return nn.functional.embedding(self.places[ids], self.weight, self.padding)


class Vocabulary:
    """The word embeddings of a backbone, of which only some learn: ``used`` [tokens], their numbers.

    ``put_back`` makes the table whole again, with what was learned in it. The rows that were not used stay as
    they were, without the weight decay that the optimizer would have given them.
    """

    def __init__(self, backbone: PreTrainedModel, table: nn.Embedding, used: Tensor) -> None:
        self.backbone, self.table, self.used = backbone, table, used
        self.cut = _Cut(table, used)
        backbone.set_input_embeddings(self.cut)

    def put_back(self) -> None:
        """Write the rows into the table, and the table into the backbone."""
        with torch.no_grad():
            self.table.weight[self.used] = self.cut.weight
        self.backbone.set_input_embeddings(self.table)


def cut_vocabulary(backbone: PreTrainedModel, ids: Iterable[np.ndarray], pad_id: int) -> Vocabulary | None:
    """Leave the word embeddings nothing but the tokens of ``ids``, arrays of any shape, and padding.

    None, and nothing is done, where the table does not learn, is no plain one (some scale what they look up),
    has its weights in common with another part, or is used as a whole.
    """
    try:
        table = backbone.get_input_embeddings()
    except NotImplementedError:  # transformers says so of a backbone that has no one table of words
        return None
    if type(table) is not nn.Embedding or table.max_norm is not None or not table.weight.requires_grad:
        return None
    owners = [
        name for name, each in backbone.named_parameters(remove_duplicate=False) if each is table.weight
    ]
    if len(owners) != 1:
        return None
    seen = np.zeros(table.num_embeddings, bool)
    seen[[pad_id, *([] if table.padding_idx is None else [table.padding_idx])]] = True
    for some in ids:
        seen[some] = True
    if seen.all():
        return None
    used = torch.from_numpy(np.flatnonzero(seen)).to(table.weight.device)
    return Vocabulary(backbone, table, used)
