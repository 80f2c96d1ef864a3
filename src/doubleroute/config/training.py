"""What project.yaml says of training."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from doubleroute.config.lora import Lora
from doubleroute.config.values import (
    Dropout,
    Duration,
    Fraction,
    Positive,
    Section,
)

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Training(Section):
    """How the model learns."""

    mode: Literal["full", "auto", "heads"] = Field(
        "full",
        description="full: one fit; auto: heads on stored states first, then the upper half of the layers, "
        "then all that may learn, as long as the budget lasts; heads: the first of these alone. Heads can be "
        "solved of classification, multilabel without class_weights, regression and tagging without crf: "
        "with others auto leaves that stage out",
    )
    budget: Duration | None = Field(
        None,
        description="of mode auto: training seconds of each model, as in 90s, 5m or 1h, beside those that "
        "storing the frozen layers' outputs takes; null: epochs alone",
    )
    epochs: Annotated[float, Field(ge=0.1, le=1000)] = Field(
        3.0, description="one epoch draws as many rows as there are; the last may be a part of one"
    )
    batch_size: int = Field(32, ge=1, le=65536, description="rows a step")
    batch_by: Literal["rows", "tokens"] = Field(
        "rows",
        description="rows: batch_size of them; tokens: as many steps, each of about as many tokens, so that "
        "long texts come a few at a time",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="compute a layer's states anew for its gradient instead of keeping them (Chen et al. "
        "2016): less memory for long texts, at the price of a second pass forward",
    )
    trainable: Literal["all", "frozen"] | Annotated[int, Field(ge=1)] = Field(
        "all",
        description="all layers, frozen (router and heads alone), or how many top layers, from the highest "
        "that a task reads",
    )
    lora: Lora | None = Field(
        None, description="adapters learn in place of the trainable layers' weights (the extra lora)"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="adamw: Loshchilov & Hutter 2019")
    learning_rate: Positive = Field(5e-5, description="of the backbone")
    head_learning_rate: Positive = Field(1e-3, description="of the heads")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "linear", description="of the learning rates, after the warm-up"
    )
    warmup: Fraction = Field(0.1, description="fraction of all steps")
    weight_decay: float = Field(0.01, ge=0, description="of all weights but biases and norms")
    dropout: Dropout = Field(0.1, description="inside the trained layers of the backbone")
    clip: Positive | None = Field(1.0, description="largest gradient norm; null switches it off")
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Szegedy et al. 2016; numbers and tags with a CRF know none; 0 switches it off",
    )
    sampling: Literal["temperature", "uniform", "annealed"] = Field(
        "temperature",
        description="rows of a task in an epoch: size^(1/T); the same for all; or proportional in the first "
        "epoch and size^(1/T) in the last (Stickland & Murray 2019; their T is 5)",
    )
    sampling_temperature: float = Field(
        1.0, ge=1, le=100, description="T of size^(1/T): 1 is proportional, larger favours small tasks"
    )
    task_weights: Literal["fixed", "uncertainty"] = Field(
        "fixed",
        description="of the tasks' losses: their weight, or times a learned one (Kendall et al. 2018)",
    )
    gradients: Literal["sum", "upgrad", "mgda", "pcgrad", "imtl_g", "aligned_mtl"] = Field(
        "sum", description="of the tasks in a step: summed, or combined by torchjd (the extra mtl)"
    )
    early_stopping: int | None = Field(None, ge=1, description="epochs without gain before it stops")
    task_early_stopping: int | None = Field(
        None,
        ge=1,
        description="epochs without gain in a task's own score before it is drawn a tenth as often; when all "
        "tasks are there it stops",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: what the machine has"
    )
    checkpoint_seconds: float = Field(
        30.0,
        ge=0,
        description="between checkpoints at least, and 20 times what writing one takes; 0: after each step",
    )

    @field_validator("budget")
    @classmethod
    def _budget_fits_the_mode(cls, budget: str | None, info: ValidationInfo) -> str | None:
        if budget is not None and info.data.get("mode") != "auto":
            raise ValueError("is kept by mode auto alone; write `mode: auto`, or delete it")
        if budget is not None and float(budget[:-1]) == 0:
            raise ValueError(
                "is no time at all; for the heads alone, which are always solved, write `mode: heads`"
            )
        return budget

    @property
    def seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else float(self.budget[:-1]) * _SECONDS[self.budget[-1]]

    @model_validator(mode="after")
    def _adapters_have_a_layer(self) -> "Training":
        if self.lora is not None and self.trainable == "frozen":
            raise ValueError("lora: with trainable: frozen no layer has adapters; write all or a number")
        return self

    @model_validator(mode="after")
    def _sampling_has_an_effect(self) -> "Training":
        if self.sampling == "annealed" and self.sampling_temperature == 1:
            raise ValueError("sampling: annealed needs a sampling_temperature above 1 to end at; write 5")
        if self.sampling == "uniform" and self.sampling_temperature != 1:
            raise ValueError("sampling_temperature has no effect on sampling: uniform; take one of them out")
        return self
