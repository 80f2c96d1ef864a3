"""What project.yaml may say about adapters inside the backbone."""

from typing import Annotated

from pydantic import Field

from doubleroute.config.values import Positive, Section
from doubleroute.config.words import Words

Layer = Annotated[str, Field(min_length=1), Words("the name of a layer", "names of layers")]


class Lora(Section):
    """Low-rank adapters in place of the backbone's own weights (Hu et al. 2022): W + alpha / rank B A."""

    rank: int = Field(8, ge=1, le=1024, description="of the update of a weight")
    alpha: Positive = Field(16.0, description="the update is multiplied by alpha / rank")
    targets: tuple[Layer, ...] | None = Field(
        None, min_length=1, description="linear layers by name, such as query; null: all of those that learn"
    )
