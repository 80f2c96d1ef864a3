"""The values that project.yaml is made of: types with their bounds, and the words for them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from doubleroute.config.words import Words

Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1), Words("text that is not empty")]
Label = Annotated[str, Field(min_length=1), Words("a label that is not empty", "labels")]
Column = Annotated[str, Field(min_length=1), Words("the name of a column", "columns")]
Paths = (
    Annotated[str, Field(min_length=1), Words("a file")]
    | Annotated[
        tuple[Annotated[str, Field(min_length=1), Words("a file", "files")], ...],
        Field(min_length=1),
        Words("a list of files"),
    ]
)
Duration = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?[smh]$"),
    Words("a number with s, m or h after it, as in 90s, 5m or 1h"),
]
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
Name = Annotated[
    str,
    Field(pattern=NAME_PATTERN),
    Words("lower-case letters, digits and hyphens, a letter or digit first, 63 at most"),
]
ModelName = Annotated[
    str,
    Field(pattern=r"""^[^/:'"`\s]([^/:'"`]*[^/:'"`\s])?$"""),
    Words("a name without /, : and quotes"),
]
TaskName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,62}$"),
    Words("lower-case letters, digits and underscores, a letter first, 63 at most"),
]
#: What a task may not be called: torch.nn.ModuleDict, which holds the heads, has these attributes,
#: one of them from transformers.
# fmt: off
OF_MODULES = frozenset({
    "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear", "compile",
    "cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer",
    "get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "items", "keys",
    "load_state_dict", "modules", "mtia", "named_buffers", "named_children", "named_modules",
    "named_parameters", "parameters", "pop", "register_backward_hook", "register_buffer",
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
    "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook", "register_module", "register_parameter",
    "register_state_dict_post_hook", "register_state_dict_pre_hook", "requires_grad_",
    "set_extra_state", "set_submodule", "share_memory", "smart_apply", "state_dict", "to",
    "to_empty", "train", "training", "type", "update", "values", "xpu", "zero_grad",
})
# fmt: on


class Section(BaseModel):
    """A part of project.yaml: immutable, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
