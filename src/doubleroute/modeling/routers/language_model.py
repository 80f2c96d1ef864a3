"""A causal language model between backbone and heads."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from doubleroute.errors import ModelError
from doubleroute.modeling.backbone import load_encoder
from doubleroute.modeling.routers import Layers, Mask, Router, Sizes, States, Tasks
from doubleroute.modeling.source import locate, source_digest

KEY = "router.source"


class LanguageModelRouter(Router):
    """H' = H + U LM(D H + e_task): the states are led into a causal language model in place of its word
    embeddings, and its last states lead out, in the manner of Lu et al. 2022 (frozen pretrained
    transformers).

    D [hidden, width] leads in, e [tasks, width] is the task's embedding, U [width, hidden] leads out; U and e
    are zero at the start. With ``frozen`` the language model's own weights stay as they are. Its word
    embeddings and its output layer are not used and not kept; all else is saved with the model, so that
    ``source`` is read only when a fresh router begins. ``config`` is the language model's own and ``digest``
    that of its files: ``resolve`` puts them there.
    """

    of_tasks = ("task",)
    of_learning = Router.of_learning | {"frozen"}

    def __init__(
        self, sizes: Sizes, source: str, frozen: bool, config: Mapping[str, Any], digest: str
    ) -> None:
        super().__init__(sizes)
        self.source, self.frozen, self.digest = source, frozen, digest
        options = dict(config)
        inner = AutoConfig.for_model(options.pop("model_type"), **options)
        inner.use_cache = False
        self.model: Any = without_words(
            AutoModel.from_config(inner, attn_implementation="eager", dtype=torch.float32)
        )
        self.model.requires_grad_(not frozen)
        self.positions = _takes_positions(self.model)
        width = int(inner.hidden_size)
        self.down = nn.Linear(sizes.hidden, width)
        self.task = nn.Parameter(torch.zeros(sizes.tasks, width))
        self.up = nn.Parameter(torch.zeros(width, sizes.hidden))

    def begin(self, root: Path) -> None:
        """Read the language model's weights. Raises ModelError when it cannot stand here."""
        loaded = without_words(load_encoder(locate(self.source, root, KEY, with_tokenizer=False)))
        self.model.load_state_dict(loaded.state_dict())
        self._try()

    @classmethod
    def resolve(cls, options: Mapping[str, Any], root: Path) -> dict[str, Any]:
        """Add the language model's config and the digest of its files."""
        source = locate(options["source"], root, KEY, with_tokenizer=False)
        digest = source_digest(source)
        try:
            config = AutoConfig.from_pretrained(source.location, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"{KEY}: {source.location} holds no config of a known model: {error}") from error
        if config.is_encoder_decoder or not isinstance(getattr(config, "hidden_size", None), int):
            raise ModelError(f"{KEY}: {source.location} is no causal language model such as GPT-2 or Llama")
        known = {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
        return {**options, "config": known, "digest": digest}

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add what the language model makes of the row and its task to each token's state."""
        given = self.down(states)
        given = given + self.task[task].to(given.dtype)[:, None, :]
        features = self._read(given, mask)
        return states + (features @ self.up.to(features.dtype)).to(states.dtype)

    def _read(self, given: Tensor, mask: Tensor) -> Tensor:
        """The language model's last states: [rows, seq, width] -> [rows, seq, width]. Positions count the
        row's own tokens, whatever stands between them."""
        extra = {}
        if self.positions:
            extra["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
        features: Tensor = self.model(inputs_embeds=given, attention_mask=mask, **extra).last_hidden_state
        return features

    def _try(self) -> None:
        """Raise ModelError unless two short rows can be read, and padding does not count."""
        width, training = self.task.shape[1], self.model.training
        given = torch.linspace(-1, 1, 2 * 3 * width).reshape(2, 3, width)
        mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
        self.model.eval()
        what = f"{KEY}: {type(self.model).__name__} of {self.source}"
        try:
            with torch.inference_mode():
                together, alone = self._read(given, mask), self._read(given[1:, :2], mask[1:, :2])
        except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            raise ModelError(f"{what} does not run on states in place of words: {error}") from error
        finally:
            self.model.train(training)
        if together.shape != given.shape or not torch.allclose(together[1:, :2], alone, atol=1e-4):
            raise ModelError(f"{what} does not give one state a token that padding leaves alone")


def without_words(model: Any) -> Any:
    """The model without its table of word embeddings, which nothing here reads."""
    model.set_input_embeddings(nn.Identity())
    return model


def _takes_positions(model: Any) -> bool:
    return "position_ids" in inspect.signature(model.forward).parameters
