"""Other families of encoders: each assembles, trains whole, in part and frozen, answers, saves and loads.

Every model is random and tiny, with a tokenizer of the family's own sort. RoBERTa has positions that are
counted from the padding's number and one segment; DistilBERT, MPNet and ModernBERT know no segments;
MPNet and DeBERTa hand on tuples from layer to layer; ModernBERT asks each layer for its attention.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import WORDS, write_tiny_project
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from doubleroute.config import load_project
from doubleroute.data.batches import Inputs
from doubleroute.data.collating import collate
from doubleroute.data.tokens import encode_texts, join_tokens, word_spans
from doubleroute.errors import ConfigError, ModelError
from doubleroute.integrations.validation import validate
from doubleroute.modeling.backbone import load_backbone, load_tokenizer, refuse_long_texts, states_of
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, DoublerouteModel, assemble
from doubleroute.modeling.onnx_answerer import GRAPH, graph_up_to, open_session, run_graph
from doubleroute.modeling.onnx_graph import write_graph, write_lower_graphs
from doubleroute.modeling.quick import narrow
from doubleroute.modeling.source import Source
from doubleroute.modeling.trunk import Trunk, around, caught_layers, first_of, layers_of, stopping_after
from doubleroute.modeling.vocabulary import cut_vocabulary
from doubleroute.training.encode import encode
from doubleroute.training.fit import Learner
from doubleroute.training.ladder import store
from doubleroute.training.optimise import checkpoint_gradients, freeze, learn_mode
from doubleroute.training.variants import variant
from doubleroute.training.word_states import _can_stop
from doubleroute.workspace import Workspace

LINES = [WORDS, "plain words and numbers", "the film reads 42 short words", "don't the models' lines"] * 3
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}


def word_pieces(special: dict[str, str]) -> Tokenizer:
    """BERT's sort: pieces inside a word begin with ##."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"]))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=80, special_tokens=list(special.values()))
    )
    return tokenizer


def bytes_of_words(special: dict[str, str]) -> Tokenizer:
    """RoBERTa's sort: byte-level pairs, the space before a word being part of it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special.values()), initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def sentence_pieces(special: dict[str, str]) -> Tokenizer:
    """XLM-R's sort: a unigram model in which a mark stands for the space before a word."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=list(special.values()), unk_token=special["unk"]
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


# Special tokens in the order of their ids.
BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
# family: its sort of tokenizer, special tokens, and what its config has besides the sizes.
FAMILIES: dict[str, tuple[Callable[[dict[str, str]], Tokenizer], dict[str, str], dict[str, Any]]] = {
    "distilbert": (
        word_pieces,
        BERT,
        {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64},
    ),
    "roberta": (bytes_of_words, ROBERTA, {"type_vocab_size": 1}),
    "xlm-roberta": (sentence_pieces, ROBERTA, {"type_vocab_size": 1}),
    "electra": (word_pieces, BERT, {"embedding_size": 8}),
    "mpnet": (word_pieces, ROBERTA, {}),
    "deberta-v2": (
        sentence_pieces,
        BERT,
        {
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "conv_kernel_size": 3,
        },
    ),
    "modernbert": (
        bytes_of_words,
        BERT,
        {"global_attn_every_n_layers": 2, "local_attention": 4, "attention_dropout": 0.1},
    ),
}


def write_backbone(folder: Path, family: str) -> Path:
    """A random backbone of three layers with its tokenizer, as from_pretrained finds it."""
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    make, special, options = FAMILIES[family]
    tokenizer = make(special)
    first, last = special["cls"], special["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, last)],
    )
    sizes = {} if family == "distilbert" else {**SIZES, "num_hidden_layers": 3}
    given = {
        **sizes,
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": list(special).index("pad"),
        **options,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        AutoModel.from_config(AutoConfig.for_model(family, **given)).save_pretrained(folder)
    names = {f"{role}_token": token for role, token in special.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=list(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("family") / request.param, request.param)


EXPERTS = {"kind": "experts", "experts": 2, "bottleneck": 4}


def routed(folder: Path, router: dict[str, Any] = EXPERTS) -> DoublerouteModel:
    """The routed model on this backbone: one task of a row, one of its words."""
    head = {"pooling": "mean", "dropout": 0.0, "weight": 1.0}
    tasks = {
        "tone": {"kind": "classification", "labels": ["neg", "pos"], **head},
        "names": {"kind": "tagging", "labels": ["O", "B-x", "I-x"], **head},
    }
    backbone = load_backbone(Source("x", folder))
    config = DoublerouteConfig(
        backbone=backbone.config.to_dict(),
        router=router,
        tasks=tasks,
        max_tokens=32,
    )
    return assemble(config, backbone, seed=1)


def inputs(folder: Path, pairs: bool = False) -> dict[str, Tensor]:
    """Two rows of unequal length as the model reads them."""
    from doubleroute.data.batches import inputs_of, parts_of

    tokenizer = load_tokenizer(Source("x", folder))
    texts = ["the film reads 42 short words", "plain words"]
    packed = encode_texts(tokenizer, texts, 32, ["and numbers", "a line"] if pairs else None)
    return inputs_of(parts_of(packed, np.arange(2)), tokenizer.pad_token_id).to("cpu").keywords


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_top_layers_alone_give_what_the_whole_backbone_gives(folder: Path, depth: int) -> None:
    model = routed(folder).eval()
    given, caught = inputs(folder), []
    hook = layers_of(model.backbone)[depth - 1].register_forward_hook(
        lambda *passed: caught.append(first_of(passed[2]))
    )
    with torch.inference_mode():
        whole = model.encode(**given)
    hook.remove()
    trunk = Trunk(model.backbone, depth)
    trunk.take_out()
    trunk.feed({depth: caught[0]})
    with torch.inference_mode():
        assert torch.equal(model.encode(**given), whole)
    trunk.put_back()
    with torch.inference_mode():
        assert torch.equal(model.encode(**given), whole)


def test_a_row_does_not_depend_on_the_padding_beside_it(folder: Path) -> None:
    model = routed(folder).eval()
    given = inputs(folder)
    short = int(given["attention_mask"][1].sum())
    with torch.inference_mode():
        together = model.encode(**given)[1, :short]
        alone = model.encode(**{name: value[1:, :short] for name, value in given.items()})[0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.costly
def test_the_onnx_graph_gives_the_model_s_logits(folder: Path, tmp_path: Path) -> None:
    model = routed(folder).eval()
    with torch.no_grad():
        model.router.up.fill_(0.1)
    write_graph(model, tmp_path / "model.onnx")  # compares on batches of four other sizes
    given = inputs(folder, pairs=True)
    found = run_graph(open_session(tmp_path / "model.onnx", 1), Inputs(*given.values()), ["tone", "names"])
    with torch.inference_mode():
        wanted = model(**given).logits
    for task, values in wanted.items():
        np.testing.assert_allclose(found[task], values.numpy(), atol=1e-5)


def test_a_pair_is_read_whether_the_family_knows_segments_or_not(folder: Path) -> None:
    model = routed(folder).eval()
    given = inputs(folder, pairs=True)
    single = inputs(folder)
    with torch.inference_mode():
        states = model.encode(**given)
    assert states.shape == (*given["input_ids"].shape, 16)
    assert given["input_ids"].shape[1] > single["input_ids"].shape[1]
    assert states.isfinite().all()


def test_every_word_is_found_by_its_first_piece(folder: Path) -> None:
    tokenizer = load_tokenizer(Source("x", folder))
    words = ["the", "films'", "don't", "42", "words", "é", "shortnumbers", ",", "like"]
    text = join_tokens(words)
    packed = encode_texts(tokenizer, [text], 64, spans=[word_spans(text, words)])
    assert packed.words is not None
    places = np.flatnonzero(packed.words >= 0)
    assert packed.words[places].tolist() == list(range(len(words)))
    encoding = tokenizer.backend_tokenizer.encode(text)
    for place, word in zip(places, words, strict=True):
        start, end = encoding.offsets[place]
        assert word.startswith(text[start:end].strip())


def test_a_router_of_layers_reads_the_same_whether_they_are_whole_or_stored(folder: Path) -> None:
    model, given = routed(folder, {"kind": "layers", "top": None}).eval(), inputs(folder)
    with torch.inference_mode():
        states, layers = model.encode_layers(**given)
        assert list(layers) == [0, 1, 2]
        assert not any(torch.equal(one, states) for one in layers.values())
        trunk = Trunk(model.backbone, 2)
        trunk.take_out()
        trunk.feed({1: layers[1], 2: layers[2]})
        again, stored = model.encode_layers(**given)
    assert torch.equal(again, states)
    assert all(torch.equal(stored[depth], each) for depth, each in layers.items())


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_pass_that_ends_below_the_top_gives_what_stands_there_and_the_next_one_is_whole(
    folder: Path, checkpointed: bool
) -> None:
    model, given = routed(folder), inputs(folder)
    freeze(model, None, dropout=0.0)
    backbone = model.backbone.train()
    if checkpointed and backbone.supports_gradient_checkpointing:  # MPNet's has none
        checkpoint_gradients(backbone)
    with caught_layers(backbone, [1, 2]) as caught:
        whole = model.encode(**given)
    wanted = dict(caught)
    with caught_layers(backbone, [1, 2]) as found, stopping_after(backbone, 2):
        model.encode(**given)
    assert all(torch.equal(found[depth], states) for depth, states in wanted.items())
    found[2].square().sum().backward()
    first, _, top = layers_of(backbone)
    assert any(each.grad is not None for each in first.parameters())
    assert all(each.grad is None for each in top.parameters())
    assert torch.equal(model.encode(**given), whole)


@pytest.mark.costly
def test_a_task_of_a_lower_layer_is_answered_from_it_also_by_the_graph(folder: Path, tmp_path: Path) -> None:
    model = routed(folder, {"kind": "layers", "top": None}).eval()
    tasks = {**model.config.tasks, "tone": {**model.config.tasks["tone"], "layer": 1}}
    config = DoublerouteConfig(**{**model.config.to_dict(), "tasks": tasks})
    model, given = assemble(config, model.backbone, seed=1).eval(), inputs(folder, pairs=True)
    with torch.no_grad():
        model.router.up.fill_(0.1)
    with torch.inference_mode():
        whole, alone = model(**given).logits, model(**given, tasks=["tone"]).logits
    torch.testing.assert_close(alone["tone"], whole["tone"], rtol=1e-5, atol=1e-6)
    write_graph(model, tmp_path / GRAPH)  # compares on batches of four other sizes
    write_lower_graphs(model, tmp_path / GRAPH)
    lower, every = (onnx.load(tmp_path / name).graph.node for name in (graph_up_to(1), GRAPH))
    products = [sum(each.op_type == "MatMul" for each in nodes) for nodes in (lower, every)]
    assert products[0] < 0.5 * products[1]  # one layer of three
    found = run_graph(open_session(tmp_path / graph_up_to(1), 1), Inputs(*given.values()), ["tone"])
    np.testing.assert_allclose(found["tone"], whole["tone"].numpy(), atol=1e-5)


@pytest.mark.parametrize("top", [None, 0, 1])
def test_two_steps_move_what_learns_and_nothing_else(folder: Path, top: int | None) -> None:
    model = routed(folder)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trunk = freeze(model, None if top is None else 3 - top, dropout=0.1)
    learn_mode(model)
    if trunk is not None:
        states = _trunk_states(model, folder, 3 - (top or 0))
        trunk.take_out()
        trunk.feed({3 - (top or 0): states})
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.5)
    targets = {"tone": torch.tensor([0, 1]), "names": _tags(inputs(folder)["input_ids"])}
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(**inputs(folder), targets=targets, rows=_rows()).loss
        assert loss is not None
        loss.backward()
        optimizer.step()
    if trunk is not None:
        trunk.put_back()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    inside = {name.removeprefix("backbone.") for name in moved if name.startswith("backbone.")}
    layers = [
        {name for name, value in model.backbone.named_parameters() if any(value is own for own in each)}
        for each in (list(layer.parameters()) for layer in layers_of(model.backbone))
    ]
    assert any(name.startswith("heads.tone") for name in moved)
    assert any(name.startswith("router.") for name in moved)
    if top == 0:
        assert not inside
    elif top == 1:
        assert inside
        assert inside - {"final_norm.weight"} <= layers[2]
        assert ("final_norm.weight" in inside) == hasattr(model.backbone, "final_norm")
    else:
        assert all(inside & layer for layer in layers)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_below_and_above_the_trunk_s_output_no_parameter_is_on_both_sides(folder: Path, depth: int) -> None:
    backbone = routed(folder).backbone
    below, above = around(backbone, depth)
    layers = [{id(own) for own in layer.parameters()} for layer in layers_of(backbone)]
    where = {name: id(own) for name, own in backbone.named_parameters()}
    assert not set(below) & set(above)
    assert all(where[name] not in set.union(*layers[depth:]) for name in below)
    assert all(where[name] not in set().union(*layers[:depth]) for name in above)
    assert set.union(*layers[depth:]) <= {where[name] for name in above}
    assert any("word_embeddings" in name or "tok_embeddings" in name for name in below)
    assert not any("word_embeddings" in name or "tok_embeddings" in name for name in above)


def test_no_dropout_means_none_also_where_a_family_writes_it_as_a_number(folder: Path) -> None:
    model = routed(folder)
    freeze(model, None, dropout=0.0)
    learn_mode(model)
    one, other = (model.encode(**inputs(folder)) for _ in range(2))
    assert torch.equal(one, other)
    freeze(model, None, dropout=0.5)
    assert not torch.equal(model.encode(**inputs(folder)), one)


@pytest.mark.parametrize("depth", [0, 1])
def test_narrow_states_are_those_of_float32_but_for_rounding(folder: Path, depth: int) -> None:
    model, given = routed(folder).eval(), inputs(folder)
    with torch.inference_mode():
        wanted = model.encode(**given)
        narrow(model.backbone, depth)
        assert torch.equal(model.encode(**given), wanted)  # without autocast nothing is rounded
        with torch.autocast("cpu", torch.bfloat16), caught_layers(model.backbone, [depth + 1]) as caught:
            found = model.encode(**given)
    assert caught[depth + 1].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.05)


def test_a_cut_vocabulary_gives_the_same_states_and_gradients_and_is_put_back_whole(folder: Path) -> None:
    model, given = routed(folder).eval(), inputs(folder)
    table = model.backbone.get_input_embeddings()
    names, before = list(model.state_dict()), table.weight.detach().clone()
    model.encode(**given).square().sum().backward()
    wanted, gradient = model.encode(**given).detach(), table.weight.grad.clone()
    pad = model.backbone.config.pad_token_id
    cut = cut_vocabulary(model.backbone, [given["input_ids"].numpy()], pad)
    assert cut is not None
    small = model.backbone.get_input_embeddings().weight
    assert len(small) == len(set(given["input_ids"].flatten().tolist()) | {pad}) < len(before)
    states = model.encode(**given)
    states.square().sum().backward()
    assert torch.equal(states, wanted)
    assert small.grad is not None
    assert torch.equal(small.grad, gradient[cut.used])
    assert not gradient[[token for token in range(len(before)) if token not in cut.used]].any()
    with torch.no_grad():
        small += 1
    cut.put_back()
    assert model.backbone.get_input_embeddings() is table
    assert list(model.state_dict()) == names
    moved = torch.zeros(len(before), dtype=torch.bool)
    moved[cut.used] = True
    assert torch.equal(table.weight.detach(), before + moved[:, None])


def _trunk_states(model: DoublerouteModel, folder: Path, depth: int) -> Tensor:
    caught: list[Tensor] = []
    hook = layers_of(model.backbone)[depth - 1].register_forward_hook(
        lambda *given: caught.append(first_of(given[2]))
    )
    given = inputs(folder)
    with torch.no_grad():
        states_of(model.backbone.eval(), given["input_ids"], given["attention_mask"])
    hook.remove()
    learn_mode(model)
    return caught[0].to(torch.bfloat16)


def _rows() -> dict[str, Tensor]:
    return {"tone": torch.arange(2), "names": torch.arange(2)}


def _tags(ids: Tensor) -> Tensor:
    tags = torch.full_like(ids, -100)
    tags[:, 1] = 1
    return tags


def test_a_saved_model_answers_words_and_rows_as_the_one_in_memory(folder: Path, tmp_path: Path) -> None:
    model = routed(folder).eval()
    model.save_pretrained(tmp_path / "model")
    load_tokenizer(Source("x", folder)).save_pretrained(tmp_path / "model")
    answerer = Answerer(tmp_path / "model")
    given = inputs(folder)
    with torch.inference_mode():
        assert torch.equal(answerer.model.encode(**given), model.encode(**given))
    words = ["the", "films'", "don't", "42"]
    row, pair = answerer.answer([{"tokens": words}, {"text": "the film", "text_pair": "a line"}])
    assert len(row["names"]["tags"]) == len(words)
    assert len(pair["names"]["tags"]) == 2
    assert set(row["tone"]["probabilities"]) == {"neg", "pos"}
    for entity in row["names"]["entities"]:
        assert entity["text"] == join_tokens(words[entity["start"] : entity["end"]])


@pytest.mark.costly
@pytest.mark.parametrize("family", ["roberta", "deberta-v2"])
def test_a_project_trains_on_it_from_stored_activations(family: str, tmp_path: Path) -> None:
    backbone = write_backbone(tmp_path / family, family)
    root = write_tiny_project(tmp_path / "project", backbone, rows=30)
    project = load_project(root, ["training.epochs=1", "training.trainable=1"])
    workspace = Workspace(root)
    validated = validate(project, workspace)
    encoded = encode(project, workspace, validated)
    stored = store(project, workspace, encoded, lambda *_: None)
    learner = Learner(project, variant(project, "routed"), validated, encoded, stored, "float32")
    chosen = learner.feed.plan(0)[0]
    batch = collate(chosen, learner.feed.encoded, learner.feed.pad_id, learner.feed.states)
    assert batch.states is not None
    assert learner.trunk is not None
    model = learner.model.eval()
    with torch.inference_mode():
        whole = model.encode(**batch.inputs.keywords)
        learner.trunk.take_out()
        learner.trunk.feed(batch.states)
        cut = model.encode(**batch.inputs.keywords)
    learner.trunk.put_back()
    kept = batch.inputs.mask.bool()
    torch.testing.assert_close(cut[kept], whole[kept], atol=0.05, rtol=0.05)  # stored in bfloat16
    (tmp_path / "fit" / "partial").mkdir(parents=True)
    learner.run(tmp_path / "fit", tmp_path / "fit" / "partial", lambda _: None)
    answers = Answerer(tmp_path / "fit" / "model").answer([{"text": "the good film"}])
    assert set(answers[0]) == {"sentiment", "entities"}


@pytest.mark.parametrize(("family", "places"), [("distilbert", 64), ("roberta", 62), ("mpnet", 62)])
def test_more_tokens_than_there_are_positions_are_refused(family: str, places: int, tmp_path: Path) -> None:
    backbone = load_backbone(Source("x", write_backbone(tmp_path / family, family)))
    refuse_long_texts(backbone, places)
    with pytest.raises(ConfigError, match=rf"max_tokens: {places + 1} .* write {places} or less"):
        refuse_long_texts(backbone, places + 1)


def test_layers_that_share_their_weights_can_only_learn_all_together(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel

    sizes = {**SIZES, "vocab_size": 80, "embedding_size": 8, "num_hidden_layers": 3}
    AlbertModel(AlbertConfig(**sizes)).save_pretrained(tmp_path)
    backbone = load_backbone(Source("x", tmp_path))
    with pytest.raises(ModelError, match=r"AlbertModel cannot be frozen.*trainable: all.*baselines"):
        Trunk(backbone, 1)
    assert not _can_stop(backbone, 1)


def test_a_list_that_is_not_the_layers_is_refused_and_not_trained_wrongly(tmp_path: Path) -> None:
    from transformers import XLMConfig, XLMModel

    XLMModel(XLMConfig(vocab_size=80, emb_dim=16, n_layers=3, n_heads=2)).save_pretrained(tmp_path)
    backbone = load_backbone(Source("x", tmp_path))
    with pytest.raises(ModelError, match=r"XLMModel cannot be frozen.*trainable: all"):
        Trunk(backbone, 2)
    assert not _can_stop(backbone, 2)
    task = {"kind": "classification", "labels": ["a", "b"], "pooling": "mean", "dropout": 0.0, "weight": 1.0}
    config = DoublerouteConfig(
        backbone=backbone.config.to_dict(),
        router={"kind": "none"},
        tasks={"tone": {**task, "layer": 2}, "topic": task},
        max_tokens=32,
    )
    with pytest.raises(ModelError, match=r"XLMModel cannot be frozen or read.*head\.layer"):
        freeze(assemble(config, backbone, seed=1), None, dropout=0.0)


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config, T5Model

    sizes = {"vocab_size": 80, "d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32, "d_kv": 8}
    T5Model(T5Config(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="T5Model cannot be the backbone: it is an encoder with a decoder"):
        load_backbone(Source("x", tmp_path))


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="ViTModel cannot be the backbone"):
        load_backbone(Source("x", tmp_path))
