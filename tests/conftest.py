"""What several test files need: a whole model small enough to make in a moment."""

from pathlib import Path

import pytest

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] the model reads this short line of plain words and numbers like 42 "
    "a good bad film"
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``model`` with a random two-layer BERT and a head of each kind, saved as training saves it.

    Tasks: sentiment (neg, pos), topics (x, y), stars, entities (per). Do not write into it.
    """
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from doubleroute.modeling.model import DoublerouteConfig, assemble

    words = WORDS.split()
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    backbone = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    head = {"pooling": "mean", "dropout": 0.0, "weight": 1.0}
    tasks = {
        "sentiment": {"kind": "classification", "labels": ["neg", "pos"], **head},
        "topics": {"kind": "multilabel", "labels": ["x", "y"], **head},
        "stars": {"kind": "regression", "labels": [], **head},
        "entities": {"kind": "tagging", "labels": ["O", "B-per", "I-per"], **head},
    }
    config = DoublerouteConfig(backbone=backbone.to_dict(), tasks=tasks, max_tokens=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = assemble(config, BertModel(backbone, add_pooling_layer=False), seed=1)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder
