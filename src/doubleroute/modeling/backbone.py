"""M, the pretrained encoder: loaded with every weight checked, and run."""

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from doubleroute.errors import ConfigError, MachineError, ModelError
from doubleroute.modeling.source import Source, not_found

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: A tokenizer for which more than this share of ordinary words is unknown does not belong to the text.
PROBE = "the model reads this short line of plain words and numbers like 42"

#: Families of encoders in whose config.json the numbers have the names that transformers gives them.
_FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "mpnet", "deberta-v2", "modernbert")
#: How the families name their tables of learned absolute positions.
_POSITIONS = ("position_embeddings", "position_embedding", "wpe")


def load_backbone(source: Source) -> "PreTrainedModel":
    """Load the encoder in float32 without its pooler.

    Raises ModelError for missing or non-finite weights, and for a model that is no encoder of token ids
    (an encoder-decoder, a model of images or sound).
    """
    model = load_encoder(source)
    refuse_other_models(model, source.location)
    return model


def load_encoder(source: Source) -> "PreTrainedModel":
    """Load the stack of layers of any transformers model in float32, without pooler and output layer.

    Raises ModelError for missing or non-finite weights."""
    from transformers import AutoModel

    try:
        model, info = AutoModel.from_pretrained(
            source.location,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",  # with dropout, faster in training on a CPU than sdpa
            dtype=torch.float32,
        )
    except OSError as error:
        if source.folder is None:
            raise MachineError(not_found(source)) from error
        raise ModelError(f"{source.key}: {source.folder} cannot be loaded: {error}") from error
    except Exception as error:  # safetensors and transformers raise many kinds for damaged files
        raise ModelError(f"{source.key}: the weights of {source.location} are damaged: {error}") from error
    drop_pooler(model)
    refuse_bad_weights(model, info["missing_keys"], source.location)
    found: PreTrainedModel = model
    return found


def drop_pooler(model: Any) -> None:
    """Remove the pooler, which nothing here reads and which good checkpoints may lack."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


def all_finite(value: Tensor) -> bool:
    """Whether no number of a tensor [...] is NaN or infinite. By the least and the largest, which are NaN
    where one is: on a processor a thirtieth of the time of torch.isfinite for each."""
    return not value.numel() or bool(torch.isfinite(torch.stack(value.detach().aminmax())).all())


def refuse_bad_weights(model: nn.Module, missing: "set[str] | list[str]", where: str) -> None:
    """Raise ModelError if a weight that the model uses was not loaded, or is NaN or infinite."""
    used = dict(model.named_parameters())
    absent = sorted(name for name in missing if name in used)
    if absent:
        raise ModelError(f"{where} lacks {len(absent)} weights of the model, such as {absent[0]}")
    bad = sorted(name for name, value in used.items() if not all_finite(value))
    if bad:
        raise ModelError(f"{where}: {len(bad)} weights hold NaN or infinity, such as {bad[0]}")


def refuse_other_models(model: Any, where: str) -> None:
    """Raise ModelError unless token ids and a mask alone give one state a token: [batch, seq, hidden]."""
    what = f"{where}: {type(model).__name__} cannot be the backbone"
    width = getattr(model.config, "hidden_size", None)
    if not isinstance(width, int) or not isinstance(getattr(model.config, "num_hidden_layers", None), int):
        raise ModelError(f"{what}: its config has no hidden_size and num_hidden_layers")
    if model.config.is_encoder_decoder:
        raise ModelError(f"{what}: it is an encoder with a decoder; an encoder such as BERT is needed")
    ids, mask = probe(model)
    try:
        with torch.inference_mode():
            shape = tuple(states_of(model, ids, mask).shape)
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        raise ModelError(f"{what}: it does not run on token ids and a mask: {error}") from error
    if shape != (*ids.shape, width):
        raise ModelError(f"{what}: for {tuple(ids.shape)} tokens it gives states of the shape {shape}")


def probe(model: Any) -> tuple[Tensor, Tensor]:
    """Ids and mask of two short rows to try a backbone with, [2, 3]; the second row is padded."""
    device = next(model.parameters()).device
    pad = getattr(model.config, "pad_token_id", None) or 0
    first = 0 if pad > 1 else pad + 1
    ids = torch.tensor([[first, first + 1, first], [first, first + 1, pad]], device=device)
    return ids, torch.tensor([[1, 1, 1], [1, 1, 0]], device=device)


def states_of(backbone: Any, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
    """H = M(x): the last layer's states, [batch, seq] ids -> [batch, seq, hidden].

    Segment types are left out for families that know no second segment (DistilBERT, RoBERTa, MPNet,
    ModernBERT; GPT-2 would read them as words).
    """
    segments = types is not None and (getattr(backbone.config, "type_vocab_size", None) or 0) > 1
    extra = {"token_type_ids": types} if segments else {}
    states: Tensor = backbone(input_ids=ids, attention_mask=mask, **extra).last_hidden_state
    return states


def refuse_long_texts(backbone: nn.Module, max_tokens: int) -> None:
    """Raise ConfigError when ``max_tokens`` is more than the backbone has learned positions for."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith(_POSITIONS):
            # RoBERTa and its kin count positions from the one after that of the padding.
            places = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if max_tokens > places:
                raise ConfigError(
                    f"backbone.max_tokens: {max_tokens} is too long for {type(backbone).__name__}, which has "
                    f"{places} positions; write {places} or less"
                )


def load_tokenizer(source: Source) -> "PreTrainedTokenizerBase":
    """Load the fast tokenizer. Raises ModelError when it has none or makes plain words unknown."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, trust_remote_code=False)
    except OSError as error:
        raise (ModelError if source.folder else MachineError)(
            f"backbone.source: no tokenizer can be loaded from {source.location}: {error}"
        ) from error
    except Exception as error:  # tokenizers raises bare Exception for damaged files
        raise ModelError(
            f"backbone.source: the tokenizer of {source.location} is damaged: {error}"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"backbone.source: {source.location} has no fast tokenizer (tokenizer.json)")
    ids = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if not ids or (tokenizer.unk_token_id is not None and ids.count(tokenizer.unk_token_id) > len(ids) // 2):
        raise ModelError(
            f"backbone.source: the tokenizer of {source.location} turns plain words into unknown tokens"
        )
    return tokenizer


def layer_count(source: Source) -> int:
    """How many layers the encoder has, from its config alone. Raises ModelError for a config that is damaged,
    of a family that transformers does not know, or without layers."""
    return _from_config(source, "num_hidden_layers")


def hidden_size(source: Source) -> int:
    """How many numbers a token's state has, found and refused likewise."""
    return _from_config(source, "hidden_size")


def _from_config(source: Source, key: str) -> int:
    found = _written(source, key)
    if found is not None:
        return found
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return int(getattr(AutoConfig.from_pretrained(source.location, trust_remote_code=False), key))
    # What each of them is: a value of a wrong type; a family without the key (CLIP); one that counts its
    # layers by part (LXMERT); an unknown family; one that refuses the key (Funnel).
    except (StrictDataclassError, AttributeError, TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"backbone.source: {source.location} is no encoder with a number of layers: {error}"
        ) from error
    except OSError as error:
        if source.folder:
            raise ModelError(f"backbone.source: {source.folder} cannot be loaded: {error}") from error
        raise MachineError(not_found(source)) from error


def _written(source: Source, key: str) -> int | None:
    """The same as the file of a common family has it, without the wait for transformers; None where it is not
    there as a number, or the family is another."""
    if source.folder is None:
        return None
    try:
        said = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if (
        not isinstance(said, dict)
        or said.get("model_type") not in _FAMILIES
        or type(said.get(key)) is not int
    ):
        return None
    return int(said[key])
