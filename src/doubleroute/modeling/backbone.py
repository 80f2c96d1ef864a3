"""M, the pretrained encoder: found, loaded with every weight checked, and cut into trunk and top layers."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from doubleroute.errors import MachineError, ModelError
from doubleroute.workspace import digest_of, file_digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: A tokenizer for which more than this share of ordinary words is unknown does not belong to the text.
PROBE = "the model reads this short line of plain words and numbers like 42"


@dataclass(frozen=True)
class Source:
    """Where a backbone is: a local folder, or a name that transformers resolves in its cache or hub."""

    name: str
    folder: Path | None

    @property
    def location(self) -> str:
        """What from_pretrained takes."""
        return str(self.folder) if self.folder else self.name


def locate(source: str, root: Path) -> Source:
    """Resolve ``backbone.source`` without loading anything.

    ``package:NAME/PATH`` is a folder inside an installed Python package (which is not imported); an
    existing folder, relative to the project or absolute, is taken as it is; all else is a Hugging Face
    name. Raises MachineError when the package is not installed, ModelError when the folder is missing
    or holds no config.json, no safetensors weights or no tokenizer.
    """
    if source.startswith("package:"):
        package, _, inner = source.removeprefix("package:").partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise MachineError(
                f"backbone.source: the Python package '{package}' of '{source}' is not installed; "
                f"try `pip install {package.replace('_', '-')}`"
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / inner
    else:
        folder = Path(source) if Path(source).is_absolute() else root / source
        if not folder.exists() and not source.startswith((".", "/")):
            return Source(source, None)
    _check_folder(folder, source)
    return Source(source, folder)


def _check_folder(folder: Path, source: str) -> None:
    if not folder.is_dir():
        raise ModelError(f"backbone.source: '{source}' is no folder ({folder} does not exist)")
    names = {path.name for path in folder.iterdir()}
    lacking = []
    if "config.json" not in names:
        lacking.append("config.json")
    if not names & {"model.safetensors", "model.safetensors.index.json"}:
        pickled = "pytorch_model.bin" in names
        lacking.append(
            "model.safetensors" + (" (pytorch_model.bin is a pickle: convert it first)" if pickled else "")
        )
    if not names & {"tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.json"}:
        lacking.append("tokenizer files (tokenizer.json)")
    if lacking:
        raise ModelError(f"backbone.source: the folder {folder} lacks {', '.join(lacking)}")


def source_digest(source: Source) -> str:
    """A digest of the weights and tokenizer: of the files for a folder, of the commit for a hub name."""
    if source.folder:
        files = sorted(
            path
            for path in source.folder.iterdir()
            if path.suffix in (".json", ".safetensors", ".txt", ".model")
        )
        return digest_of({path.name: file_digest(path) for path in files})
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source.name)
    except OSError as error:
        raise MachineError(_not_found(source.name)) from error
    return digest_of([source.name, getattr(config, "_commit_hash", None)])


def _not_found(name: str) -> str:
    return (
        f"backbone.source: '{name}' is no folder of the project, and the Hugging Face hub does not give it "
        "(offline, or no such model); download it first, or name a folder or package:NAME/PATH"
    )


def load_backbone(source: Source) -> "PreTrainedModel":
    """Load the encoder in float32 without its pooler. Raises ModelError for missing or non-finite weights."""
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
            raise MachineError(_not_found(source.name)) from error
        raise ModelError(f"backbone.source: {source.folder} cannot be loaded: {error}") from error
    except Exception as error:  # safetensors and transformers raise many kinds for damaged files
        raise ModelError(f"backbone.source: the weights of {source.location} are damaged: {error}") from error
    drop_pooler(model)
    refuse_bad_weights(model, info["missing_keys"], source.location)
    return model


def drop_pooler(model: Any) -> None:
    """Remove the pooler, which nothing here reads and which good checkpoints may lack."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


def refuse_bad_weights(model: nn.Module, missing: "set[str] | list[str]", where: str) -> None:
    """Raise ModelError if a weight that the model uses was not loaded, or is NaN or infinite."""
    used = dict(model.named_parameters())
    absent = sorted(name for name in missing if name in used)
    if absent:
        raise ModelError(f"{where} lacks {len(absent)} weights of the model, such as {absent[0]}")
    bad = sorted(name for name, value in used.items() if not torch.isfinite(value).all())
    if bad:
        raise ModelError(f"{where}: {len(bad)} weights hold NaN or infinity, such as {bad[0]}")


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
    """How many layers the encoder has, from its config alone."""
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(source.location).num_hidden_layers)
    except OSError as error:
        raise MachineError(_not_found(source.name)) from error


def layers_of(backbone: nn.Module) -> nn.ModuleList:
    """The list of the encoder's layers: the ModuleList as long as config.num_hidden_layers."""
    config: Any = backbone.config
    wanted = int(config.num_hidden_layers)
    for module in backbone.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise ModelError(f"no list of {wanted} layers found in {type(backbone).__name__}; use trainable: all")


class _Cached(nn.Module):
    """Stands where the trunk was and gives its stored output instead."""

    states: Tensor | None = None

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.states is None:
            raise ValueError("a model without its trunk needs trunk_states")
        return self.states.to(hidden.dtype)


class Trunk:
    """The frozen lower layers of a backbone, which can be taken out while their outputs are stored.

    While they are out, ``feed(states)`` gives what they would have computed: [batch, seq, hidden].
    """

    def __init__(self, backbone: nn.Module, depth: int) -> None:
        self.list = layers_of(backbone)
        self.depth = depth
        self.taken: list[nn.Module] = []
        self._cached = _Cached()

    def take_out(self) -> None:
        """Replace the lower layers; the first position gives what was fed, the others do nothing."""
        if not self.taken and self.depth:
            self.taken = list(self.list[: self.depth])
            for position in range(self.depth):
                self.list[position] = self._cached

    def put_back(self) -> None:
        """Restore the layers, so that the model is whole again."""
        for position, layer in enumerate(self.taken):
            self.list[position] = layer
        self.taken = []

    def feed(self, states: Tensor) -> None:
        """Set the trunk's output for the next forward pass: [batch, seq, hidden]."""
        self._cached.states = states
