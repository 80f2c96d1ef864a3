"""What several test files need: a whole model small enough to make in a moment."""

import os
import threading
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Every tensor shape in a signature is checked while the tests run.
install_import_hook(["doubleroute.modeling"], "beartype.beartype")

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] the model reads this short line of plain words and numbers like 42 "
    "a good bad film"
)


def pytest_configure(config: pytest.Config) -> None:
    """Tests see a GPU if all of them are meant for one: others compare bit by bit, or with the processor."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    """Processes of ours that a test starts have their libraries imported already, as in a long-lived process.
    Asked for beside another thread: a new interpreter serves, not a copy of pytest."""
    from doubleroute import forks

    asking = threading.Thread(target=forks.keep)
    asking.start()
    asking.join()


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered on a tracking server of whoever runs the tests."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)


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


@pytest.fixture(scope="session")
def tiny_backbone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the random two-layer BERT of ``tiny_model`` and its tokenizer. Do not write into it."""
    import shutil

    from doubleroute.modeling.model import load_model

    folder = tmp_path_factory.mktemp("tiny") / "backbone"
    load_model(tiny_model).backbone.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    return folder


@pytest.fixture
def tiny_project(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A project folder that trains in seconds: sentiment (of "good", "bad") and entities (numbers)."""
    return write_tiny_project(tmp_path / "project", tiny_backbone)


def write_tiny_project(root: Path, backbone: Path, rows: int = 60) -> Path:
    """Write project.yaml and data files whose labels can be learned from single words."""
    import json
    import random

    draw = random.Random(5)
    plain = ["the", "model", "reads", "this", "short", "line", "of", "plain", "words"]
    data = root / "data"
    data.mkdir(parents=True)
    sentences, tweets = ["text,label,source\n"], []
    for number in range(rows):
        words = draw.sample(plain, 4)
        label = ("neg", "pos")[number % 2]
        words.insert(draw.randrange(5), ("bad", "good")[number % 2])
        sentences.append(f"{' '.join(words)},{label},{('mail', 'chat')[number % 3 == 0]}\n")
        tokens = [*draw.sample(plain, 3), "42", *draw.sample(plain, 2)]
        tags = ["B-number" if token == "42" else "O" for token in tokens]
        tweets.append(json.dumps({"tokens": tokens, "tags": tags}) + "\n")
    (data / "sentiment.csv").write_text("".join(sentences), encoding="utf-8")
    (data / "entities.jsonl").write_text("".join(tweets), encoding="utf-8")
    (root / "project.yaml").write_text(
        f"""\
name: tiny
seed: 3
backbone: {{source: '{backbone}', max_tokens: 16}}
router: {{kind: experts, experts: 2, bottleneck: 4}}
tasks:
  sentiment:
    kind: classification
    files: {{train: data/sentiment.csv}}
    split: {{validation: 0.2, test: 0.2}}
    slices: [source]
  entities:
    kind: tagging
    files: {{train: data/entities.jsonl}}
    split: {{validation: 0.2, test: 0.2}}
training: {{epochs: 2, batch_size: 8, trainable: 1, precision: float32, checkpoint_seconds: 0}}
evaluation: {{bootstrap: 100}}
""",
        encoding="utf-8",
    )
    return root


def relabel(root: Path, text: str) -> None:
    """Give a sentence of a tiny project the other label."""
    table = root / "data" / "sentiment.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    row = next(number for number, line in enumerate(lines) if line.startswith(f"{text},"))
    _, label, source = lines[row].split(",")
    lines[row] = f"{text},{'neg' if label == 'pos' else 'pos'},{source}"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_questions(root: Path) -> str:
    """Write questions and their stored answers beside the data of a tiny project; give the change of its
    tasks that has them in the place of the entities. Each question is its answer's text."""
    import itertools

    words = ["the", "model", "reads", "this", "short", "line", "of", "plain", "words", "42"]
    texts = [
        " ".join(each) for each in itertools.islice(itertools.permutations(words, 7), 0, 600_000, 10_007)
    ]
    rows = "".join(f"a{number},{text}\n" for number, text in enumerate(texts))
    (root / "data" / "answers.csv").write_text(f"id,text\n{rows}", encoding="utf-8")
    task = "kind: retrieval, columns: {label: id}, answers: {file: data/answers.csv, id: id, text: text}"
    return (
        "tasks={sentiment: {kind: classification, files: {train: data/sentiment.csv}}, "
        f"help: {{{task}, files: {{train: data/answers.csv}}}}}}"
    )
