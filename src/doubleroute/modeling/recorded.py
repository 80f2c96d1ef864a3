"""A model's pass over a batch as a recording of its kernels (a CUDA graph), for training on a GPU.

A step of a small model is hundreds of short kernels, each of which Python starts by itself: a GPU is done
with one long before the next one comes. Recorded once for each shape of a batch, forward and backward, they
are started together. Batches are padded to few shapes for it, which changes no answer: what is added is
masked. torch.cuda.make_graphed_callables does the same, with gradients of its own for every recording, which
autograd then takes one by one.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from doubleroute.modeling.model import DoublerouteModel
from doubleroute.modeling.trunk import Trunk

#: A row's tokens are filled up to a multiple of the first, and more rows than eight to one of the second.
_TOKENS, _ROWS = 8, 4
#: With more tokens in a batch it is the GPU that takes the time, and not Python; chosen, not measured.
_MOST = 8192
#: A recording takes some passes: a shape that comes so often will come again.
_SEEN = 3
#: Passes before the one that is recorded, as PyTorch asks for: libraries choose and prepare in them.
_FIRST = 3
#: No more recordings are made where less of the GPU's memory is free, or less than was ever used: what has
#: not been recorded needs as much again.
_LEAST_FREE = 0.25

#: Rows and tokens of a batch, whether it has segments, which layers are fed, and which tasks are asked.
Shape = tuple[int | str, ...]
Encoded = tuple[Tensor, dict[int, Tensor]]


class Recorded:
    """Stands for ``encode_layers`` of a model whose backbone learns on a GPU; ``trunk``: its frozen layers,
    if it has some. Outside of training, for shapes that are rare, and for a backbone that cannot be recorded,
    it is the model's own.

    What it gives is overwritten by its next pass, of whatever shape, and so are the gradients of the
    backbone: a pass can be followed by one backward pass, not by several. ``pad_id``: a token that the
    backbone may read.
    """

    def __init__(self, model: DoublerouteModel, trunk: Trunk | None, pad_id: int) -> None:
        self.model, self.trunk, self.pad_id = model, trunk, pad_id
        self.encode = model.encode_layers
        self.seen = Counter[Shape]()
        self.recordings: dict[Shape, _Recording] = {}
        self.memory: Any = torch.cuda.graph_pool_handle()
        self.learned = [each for each in model.backbone.parameters() if each.requires_grad]
        self.gradients = [torch.zeros_like(each) for each in self.learned]
        #: Why the backbone cannot be recorded: it asks for values, say, on which its kernels depend.
        self.refused: str | None = None

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        tasks: Sequence[str] | None = None,
    ) -> Encoded:
        """As ``DoublerouteModel.encode_layers``."""
        count, width = input_ids.shape
        rows = count if count <= 8 else _up(count, _ROWS)
        seq = min(_up(width, _TOKENS), self.model.config.max_tokens)
        learns = self.model.training and torch.is_grad_enabled()
        if self.refused or not learns or rows * seq > _MOST:
            return self.encode(input_ids, attention_mask, token_type_ids, tasks)
        fed = self._fed()
        shape = (rows, seq, token_type_ids is not None, *fed, *(tasks or ()))
        if shape not in self.recordings and not self._is_due(shape):
            return self.encode(input_ids, attention_mask, token_type_ids, tasks)
        filling = (0, seq - width, 0, rows - count)
        mask = functional.pad(attention_mask, filling)
        mask[count:, 0] = 1  # a row in which nothing counts has no softmax
        given = [functional.pad(input_ids, filling, value=self.pad_id), mask]
        if token_type_ids is not None:
            given.append(functional.pad(token_type_ids, filling))
        given += [functional.pad(each.to(input_ids.device), (0, 0, *filling)) for each in fed.values()]
        if shape not in self.recordings and not self._record(shape, given, list(fed), tasks):
            if self.trunk is not None and fed:  # what was tried has fed others
                self.trunk.feed(fed)
            return self.encode(input_ids, attention_mask, token_type_ids, tasks)
        states, layers = self.recordings[shape](given)
        return states[:count, :width], {depth: each[:count, :width] for depth, each in layers.items()}

    def as_dict(self) -> dict[str, Any]:
        """{"shapes": how many were recorded, "refused": why the backbone cannot be, or None}."""
        return {"shapes": len(self.recordings), "refused": self.refused}

    def _fed(self) -> dict[int, Tensor]:
        """The stored outputs of a trunk that is out, by depth."""
        if self.trunk is None or not self.trunk.taken or self.trunk.states is None:
            return {}
        return dict(self.trunk.states)

    def _run(self, given: list[Tensor], depths: list[int], tasks: Sequence[str] | None) -> Encoded:
        """A pass: ids, mask, types if there are some, and the states of these depths that are fed."""
        plain = len(given) - len(depths)
        if depths:
            assert self.trunk is not None
            self.trunk.feed(dict(zip(depths, given[plain:], strict=True)))
        return self.encode(given[0], given[1], given[2] if plain > 2 else None, tasks)

    def _is_due(self, shape: Shape) -> bool:
        """Whether a shape that comes now has come often enough, and there is memory to record it."""
        self.seen[shape] += 1
        if self.seen[shape] < _SEEN:
            return False
        free, whole = torch.cuda.mem_get_info()
        return bool(free >= max(_LEAST_FREE * whole, torch.cuda.max_memory_allocated()))

    def _record(
        self, shape: Shape, given: list[Tensor], depths: list[int], tasks: Sequence[str] | None
    ) -> bool:
        """Record a pass over a batch of this shape; whether that went well."""
        try:
            with _undisturbed():
                self.recordings[shape] = _Recording(self, given, depths, tasks)
        except RuntimeError as error:
            self.refused = _first(error)
            self.recordings.clear()  # whose dropout would draw from the generator as it was before
            self.gradients = []
            torch.cuda.empty_cache()
            return False
        return True


class _Recording:
    """The kernels of a forward and a backward pass over batches of one shape.

    Raises RuntimeError when the pass cannot be recorded.
    """

    def __init__(
        self, of: Recorded, given: list[Tensor], depths: list[int], tasks: Sequence[str] | None
    ) -> None:
        self.learned, self.gradients = of.learned, of.gradients
        self.given = [each.clone() for each in given]
        # What starts a backward pass through the recording, as what was given has no gradient.
        self.start = torch.zeros((), device=given[0].device, requires_grad=True)
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_FIRST):
                self._differentiate(of._run(self.given, depths, tasks))
        torch.cuda.current_stream().wait_stream(beside)
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.forward, pool=of.memory):
            states, layers = of._run(self.given, depths, tasks)
        self.depths, self.found = list(layers), [states, *layers.values()]
        self.above = [torch.zeros_like(each) for each in self.found]
        with torch.cuda.graph(self.backward, pool=of.memory):
            self.reached = self._differentiate((states, layers), self.above)
        self.found = [each.detach() for each in self.found]

    def __call__(self, given: list[Tensor]) -> Encoded:
        """The states of a batch, and those of the layers that are read besides."""
        states, *layers = _Replay.apply(self, self.start, *given)
        return states, dict(zip(self.depths, layers, strict=True))

    def _differentiate(self, found: Encoded, above: list[Tensor] | None = None) -> list[bool]:
        """Write the gradients, from those of what was found; which parameters there is one of."""
        outputs = [found[0], *found[1].values()]
        above = [torch.zeros_like(each) for each in outputs] if above is None else above
        differ = [number for number, each in enumerate(outputs) if each.requires_grad]
        with torch.autocast("cuda", enabled=False):  # as a step's backward pass is outside of it
            computed = torch.autograd.grad(
                [outputs[number] for number in differ],
                self.learned,
                [above[number] for number in differ],
                allow_unused=True,
            )
        pairs = [pair for pair in zip(self.gradients, computed, strict=True) if pair[1] is not None]
        torch._foreach_copy_([kept for kept, _ in pairs], [new for _, new in pairs])
        return [each is not None for each in computed]


class _Replay(torch.autograd.Function):
    """A recording in autograd's graph."""

    @staticmethod
    def forward(ctx: Any, recording: _Recording, _: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the forward pass on what is given."""
        ctx.recording = recording
        ctx.set_materialize_grads(False)
        torch._foreach_copy_(recording.given, given)
        recording.forward.replay()
        return tuple(each.detach() for each in recording.found)

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> tuple[None, ...]:
        """Run the backward pass, and add its gradients to those that the parameters have."""
        recording: _Recording = ctx.recording
        for place, value in zip(recording.above, above, strict=True):
            if value is None:
                place.zero_()
            else:
                place.copy_(value)
        recording.backward.replay()
        for parameter, gradient, there in zip(
            recording.learned, recording.gradients, recording.reached, strict=True
        ):
            if there:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return (None, None, *[None] * len(recording.given))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What a recording needs around it, and what one that fails leaves behind put right.

    The copies of weights that autocast keeps would not be those of the weights in the next pass, and what
    was computed from them outside of the recording has no place in it; what Python's collector frees may be
    other recordings, and to free one in the midst of this ends it.
    """
    copies, collects = torch.is_autocast_cache_enabled(), gc.isenabled()
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    before = generator.clone_state()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    gc.disable()
    try:
        with torch.cuda.stream(torch.cuda.current_stream()):
            yield
    except RuntimeError:
        generator.graphsafe_set_state(before)  # this one believes that it is still recorded
        raise
    finally:
        torch.set_autocast_cache_enabled(copies)
        if collects:
            gc.enable()


def _first(error: BaseException) -> str:
    """The error that came before all others: those that follow say that a recording was ended."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
