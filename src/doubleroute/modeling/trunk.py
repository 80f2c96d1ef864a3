"""The layers of a backbone: their outputs caught, passes that stop below the last one, and the frozen lower
ones taken out while their outputs are stored."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from doubleroute.errors import ModelError
from doubleroute.modeling.backbone import probe, states_of


def layers_of(backbone: nn.Module) -> nn.ModuleList:
    """The list of the encoder's layers: the first ModuleList as long as config.num_hidden_layers.

    Raises ModelError for a backbone that has none, such as ALBERT, whose layers share their weights.
    """
    config: Any = backbone.config
    wanted = int(config.num_hidden_layers)
    for module in backbone.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise ModelError(_no_layers(backbone, f"no list of {wanted} layers found"))


def _no_layers(backbone: nn.Module, why: str) -> str:
    return (
        f"the layers of {type(backbone).__name__} cannot be frozen or read one by one ({why}); write "
        "`trainable: all` under training, leave frozen out of evaluation.baselines, and let neither a router "
        "of kind layers nor the head.layer of a task read them"
    )


def first_of(output: Tensor | tuple[Any, ...]) -> Tensor:
    """The states that a layer gives: some families wrap them into a tuple with the attention."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


@contextmanager
def caught_layers(backbone: nn.Module, depths: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """As long as this lasts, what each pass of the backbone by this thread gives after these layers, [batch,
    seq, hidden]; depth 0 is what the first layer reads, the embeddings. Raises ModelError for a backbone
    without layers."""
    thread = threading.get_ident()
    found: dict[int, Tensor] = {}
    if not depths:
        yield found
        return
    layers = layers_of(backbone)

    def after(depth: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor | tuple[Any, ...]) -> None:
            if threading.get_ident() == thread:
                found[depth] = first_of(output)

        return hook

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if threading.get_ident() == thread:
            found[0] = given[0] if given else named["hidden_states"]

    hooks = [layers[depth - 1].register_forward_hook(after(depth)) for depth in depths if depth]
    if 0 in depths:
        hooks.append(layers[0].register_forward_pre_hook(before, with_kwargs=True))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class _Reached(Exception):
    """A pass has come as far as it is wanted."""


@contextmanager
def stopping_after(backbone: nn.Module, depth: int) -> Iterator[None]:
    """Run one pass of the backbone in this, and it ends with layer ``depth`` (1 is the lowest): what is above
    is not computed. ``caught_layers`` around it has the states. Other threads' passes go on. Raises
    ModelError for a backbone without layers; whether they are its layers, ``refuse_other_layers`` tells."""
    thread = threading.get_ident()

    def stop(*_: object) -> None:
        if threading.get_ident() == thread:
            raise _Reached

    hook = layers_of(backbone)[depth - 1].register_forward_hook(stop)
    try:
        yield
    except _Reached:
        pass
    finally:
        hook.remove()


def refuse_other_layers(backbone: nn.Module, depths: Iterable[int]) -> None:
    """Raise ModelError unless a backbone, run on from what is caught after one of these layers, gives what it
    gives as a whole, and that is states [batch, seq, hidden]; two short passes a layer, none for 0."""
    for depth in depths:
        Trunk(backbone, depth)


def around(backbone: nn.Module, depth: int) -> tuple[list[str], list[str]]:
    """The names of the parameters below and above the output of layer ``depth`` (0: the embeddings'): those
    that it depends on, and those that only what follows depends on, such as a norm after the last layer.

    Found by running two short rows and following the graph of their gradients.
    """
    learned, training = [each.requires_grad for each in backbone.parameters()], backbone.training
    try:
        backbone.eval().requires_grad_(True)
        with torch.enable_grad(), caught_layers(backbone, [depth]) as caught:
            whole = states_of(backbone, *probe(backbone))
        below, all_of_them = _leaves(caught[depth]), _leaves(whole)
    finally:
        backbone.train(training)
        for each, learns in zip(backbone.parameters(), learned, strict=True):
            each.requires_grad_(learns)
    named = [(name, id(each)) for name, each in backbone.named_parameters()]
    return [name for name, each in named if each in below], [
        name for name, each in named if each in all_of_them - below
    ]


def _leaves(output: Tensor) -> set[int]:
    """The ids of the parameters that a tensor was computed from."""
    nodes, found, seen = [output.grad_fn], set[int](), set[Any]()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        nodes += [each for each, _ in node.next_functions]
    return found


class _Cached(nn.Module):
    """Stands where a layer of the trunk was and gives its stored output instead, or, where that is not
    stored, the trunk's.

    What the backbone asks of the layer besides (ModernBERT: its type of attention) the layer answers.
    """

    def __init__(self, layer: nn.Module, depth: int, trunk: "Trunk") -> None:
        super().__init__()
        self.depth = depth
        # In a tuple, so that they are no submodules: the weights of the trunk are out.
        self.behind = (layer, trunk)

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor | tuple[Tensor | None, ...]:
        trunk = self.behind[1]
        if trunk.states is None:
            raise ValueError("a model without its trunk reads stored states: give them with Trunk.feed")
        states = trunk.states.get(self.depth, trunk.states[trunk.depth]).to(hidden)  # its dtype and device
        return states if trunk.extras is None else (states, *[None] * trunk.extras)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["behind"][0], name)


class Trunk:
    """The frozen lower layers of a backbone, which can be taken out while their outputs are stored.

    While they are out, ``feed(states)`` gives what they would have computed: {depth: [batch, seq, hidden]} of
    the last of them, and of those below it that somebody reads. Raises ModelError when the backbone without
    its trunk does not give what the whole one gives.
    """

    def __init__(self, backbone: nn.Module, depth: int) -> None:
        self.list = layers_of(backbone)
        self.depth = depth
        self.taken: list[nn.Module] = []
        self.states: Mapping[int, Tensor] | None = None
        #: How many values besides the states a layer gives in its tuple; None: it gives the bare states.
        self.extras: int | None = None
        if depth:
            self._check(backbone)

    def take_out(self) -> None:
        """Replace the lower layers: each gives what was fed, so that the last one has the last word."""
        if not self.taken and self.depth:
            self.taken = list(self.list[: self.depth])
            for position, layer in enumerate(self.taken):
                self.list[position] = _Cached(layer, position + 1, self)

    def put_back(self) -> None:
        """Restore the layers, so that the model is whole again."""
        for position, layer in enumerate(self.taken):
            self.list[position] = layer
        self.taken = []

    def feed(self, states: Mapping[int, Tensor]) -> None:
        """Set the layers' outputs for the next forward pass: {depth: [batch, seq, hidden]}."""
        self.states = states

    def _check(self, backbone: nn.Module) -> None:
        """Compare whole and cut on two short rows; learn what the layers give besides the states."""
        ids, mask = probe(backbone)
        caught: list[Any] = []
        hook = self.list[self.depth - 1].register_forward_hook(lambda *given: caught.append(given[2]))
        training = backbone.training
        backbone.eval()
        try:
            with torch.inference_mode():
                whole = states_of(backbone, ids, mask)
                hook.remove()
                if len(caught) != 1 or first_of(caught[0]).shape != whole.shape:
                    raise ModelError(_no_layers(backbone, "they are not run once each, row by row"))
                self.extras = len(caught[0]) - 1 if isinstance(caught[0], tuple) else None
                self.feed({self.depth: first_of(caught[0])})
                self.take_out()
                same = torch.allclose(states_of(backbone, ids, mask), whole, atol=1e-4)
        finally:
            hook.remove()
            self.put_back()
            self.states = None
            backbone.train(training)
        if not same:
            raise ModelError(_no_layers(backbone, "they are not one list that is run in order"))
