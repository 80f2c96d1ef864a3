"""What project.yaml may say about the router R: a section for each kind."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from doubleroute.config.values import Dropout, Positive, Section, Text
from doubleroute.config.words import Words


class NoRouter(Section):
    """The baseline: every task reads the states of the backbone's last layer, or of its head.layer, as is."""

    kind: Literal["none"] = Field("none", description="the kind of router")


class LinearRouter(Section):
    """H' = H + U_task H, one square matrix for each task, zero at the start."""

    kind: Literal["linear"] = Field(description="the kind of router")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")


class MlpRouter(Section):
    """H' = H + U_task ReLU(W2 ReLU(W1 H)): a shared body, an up-projection for each task."""

    kind: Literal["mlp"] = Field(description="the kind of router")
    width: int = Field(128, ge=1, le=8192, description="units of the two hidden layers")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")


class PooledRouter(Section):
    """H' = H + U_task GELU(D mean(H)): what the whole row says, added to each of its tokens."""

    kind: Literal["pooled"] = Field(description="the kind of router")
    width: int = Field(128, ge=1, le=8192, description="units of the hidden layer")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")


class LayersRouter(Section):
    """H' = H + u_task sum_l softmax(s_task)_l norm(H_l): a mixture over the backbone's layers for each task;
    with a bottleneck H' = H + U_task sum_l V_task,l norm(H_l).

    Where lower layers are frozen, the outputs of all that the mixture reads are stored, not of the last
    frozen one alone."""

    kind: Literal["layers"] = Field(description="the kind of router")
    top: int | None = Field(
        None,
        ge=1,
        description="layers from the backbone's top that are mixed; null: all, and the embeddings; a task "
        "with a head.layer reads those of them that are below it, and its own",
    )
    bottleneck: int | None = Field(
        None, ge=1, le=8192, description="directions that a task reads of each layer; null: a weight for each"
    )
    learning_rate: Positive | None = Field(
        None,
        validate_default=True,
        description="of the router's own parameters; null: 1e-2, with a bottleneck 1e-3",
    )

    @field_validator("learning_rate")
    @classmethod
    def _rate_fits_the_form(cls, rate: float | None, info: ValidationInfo) -> float:
        if rate is not None:
            return rate
        return 1e-2 if info.data.get("bottleneck") is None else 1e-3


class TransformerRouter(Section):
    """H' = H + U T(D H + e_task): one encoder layer that reads the states and the task."""

    kind: Literal["transformer"] = Field(description="the kind of router")
    width: int = Field(128, ge=1, le=8192, description="units of the layer")
    heads: int = Field(
        4, ge=1, le=256, validate_default=True, description="of its attention; they must divide the width"
    )
    dropout: Dropout = Field(0.0, description="inside the layer, in training")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")

    @field_validator("heads")
    @classmethod
    def _heads_fit(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width")
        if width is not None and width % heads:
            raise ValueError(f"must divide the width, {width}, and {heads} does not")
        return heads


class LanguageModelRouter(Section):
    """H' = H + U LM(D H + e_task): a causal language model reads the states in place of word embeddings."""

    kind: Literal["language_model"] = Field(description="the kind of router")
    source: Text = Field(
        description="a Hugging Face name, a folder, or package:NAME/PATH for weights in a Python package"
    )
    frozen: bool = Field(True, description="the language model's own weights stay as they are")
    learning_rate: Positive = Field(
        1e-3, description="of what learns; smaller for a model that is not frozen"
    )


class ExpertsRouter(Section):
    """H' = H + sum_e g_e U_e GELU(D_e H) with g = softmax((W h_token + b_task) / tau)."""

    kind: Literal["experts"] = Field(description="the kind of router")
    experts: int = Field(4, ge=1, le=256, description="branches that all tasks share")
    bottleneck: int = Field(64, ge=1, le=8192, description="units inside a branch")
    private: int = Field(0, ge=0, le=64, description="branches of each task alone, beside the shared ones")
    by_task: bool = Field(True, description="the gate sees the task (b)")
    by_token: bool = Field(True, description="the gate sees the token (W)")
    tau: Positive = Field(1.0, description="temperature of the gate's softmax")
    top_k: int | None = Field(None, ge=1, description="keep only the k largest weights, renormalised")
    jitter: Dropout = Field(
        0.0, description="what W reads is multiplied by 1 - jitter to 1 + jitter, in training"
    )
    expert_dropout: Dropout = Field(0.0, description="chance that a row does without an expert, in training")
    load_balance: float = Field(0.0, ge=0, description="weight of the load balance over tasks in the loss")
    z_loss: float = Field(0.0, ge=0, description="weight of the router z-loss in the loss")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")

    @field_validator("top_k")
    @classmethod
    def _top_k_fits(cls, top_k: int | None, info: ValidationInfo) -> int | None:
        experts = info.data.get("experts", 256) + info.data.get("private", 64)
        if top_k is not None and top_k > experts:
            raise ValueError(f"must be at most the number of experts, {experts}, not {top_k}")
        return top_k

    @field_validator("jitter")
    @classmethod
    def _jitter_has_an_effect(cls, jitter: float, info: ValidationInfo) -> float:
        if jitter and info.data.get("by_token") is False:
            raise ValueError("moves what the gate reads of a token, but by_token is false; write 0")
        return jitter


OneRouter = Annotated[
    LinearRouter
    | MlpRouter
    | PooledRouter
    | LayersRouter
    | TransformerRouter
    | LanguageModelRouter
    | ExpertsRouter,
    Field(discriminator="kind"),
]


class StackRouter(Section):
    """H' = R_n(... R_2(R_1(H))): routers one after the other, as layers before experts."""

    kind: Literal["stack"] = Field(description="the kind of router")
    routers: Annotated[
        tuple[OneRouter, ...],
        Words("a list of at least 2 routers, each a section with its kind and its own options"),
    ] = Field(min_length=2, description="in the order in which they are applied; one of kind experts at most")

    @field_validator("routers")
    @classmethod
    def _one_gate(cls, routers: tuple[OneRouter, ...]) -> tuple[OneRouter, ...]:
        if sum(each.kind == "experts" for each in routers) > 1:
            raise ValueError(
                "holds more than one router of kind experts, whose gates no report could tell apart; give "
                "one of them more experts"
            )
        return routers


Router = Annotated[
    NoRouter
    | LinearRouter
    | MlpRouter
    | PooledRouter
    | LayersRouter
    | TransformerRouter
    | LanguageModelRouter
    | ExpertsRouter
    | StackRouter,
    Field(discriminator="kind"),
]
