"""Module: parameters, submodules and the function that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np

from .. import init
from ..autograd import Tensor, no_grad, set_value
from ..backend import Device, default_device
from . import calls
from .loading import LoadReport, closest, load_into, state_of
from .nesting import parts_of
from .parameter import Parameter, relabelled
from .walk import named, of_kind, walk


class Module:
    """Base class of layers and models: write the parts in `__init__` and the function in `forward`.

    Every Parameter, Buffer and Module in an attribute, also within lists, tuples and dicts, belongs to it under the
    path that leads there: `blocks.0.weight`. There is nothing to register, and `super().__init__()` may be left out.

    >>> from needle import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.layers = [nn.Linear(4, 3), nn.Linear(3, 2)]
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = layer(x).tanh()
    ...         return x
    >>> [name for name, _ in Net().named_parameters()]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    training = True
    """Whether layers like Dropout behave as in training; `train()` and `eval()` set it, for all modules inside, too."""
    is_module: ClassVar[bool] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; `module(*args, **kwargs)` calls it."""
        raise NotImplementedError(f"{type(self).__name__}.forward is missing: define what the module computes there")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if calls.active:
            return calls.watched(self, args, kwargs)
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Where a Parameter stood, a leaf Tensor becomes the Parameter, and a computed one stays what it is.

        TypeError for an array there, which could not be trained.
        """
        if not isinstance(value, Parameter) and isinstance(vars(self).get(name), Parameter):
            if isinstance(value, np.ndarray):
                where = f"{type(self).__name__}.{name}"
                raise TypeError(f"{where} is a Parameter; write {name}.data = array, or {name} = nn.Parameter(array)")
            relabelled(value, Parameter)
        object.__setattr__(self, name, value)

    # What it holds -------------------------------------------------------------------------------------------

    def parameters(self) -> list[Any]:
        """Its parameters and those of all modules inside, each once, in the order of definition.

        Raises ValueError while there are layers that wait for their first input.
        """
        return [place.value for place in of_kind(self, "parameter")]

    def named_parameters(self) -> list[tuple[str, Any]]:
        """The parameters with their names, each under the first that leads to it."""
        return list(named(of_kind(self, "parameter")).items())

    def buffers(self) -> list[Any]:
        """Its buffers and those of all modules inside, each once."""
        return [place.value for place in of_kind(self, "buffer")]

    def named_buffers(self) -> list[tuple[str, Any]]:
        """The buffers with their names."""
        return list(named(of_kind(self, "buffer")).items())

    def modules(self) -> list[Module]:
        """The module itself and all modules inside, each once."""
        return [module for _, module in self.named_modules()]

    def named_modules(self) -> list[tuple[str, Module]]:
        """All modules with their names; its own is ""."""
        return [(place.name, place.value) for place in walk(self) if place.kind == "module"]

    def children(self) -> list[Module]:
        """The modules that its attributes hold, each once."""
        return [module for _, module in self.named_children()]

    def named_children(self) -> list[tuple[str, Module]]:
        """The modules that its attributes hold, with their names."""
        places = walk(self, deep=False)
        return [(place.name, place.value) for place in places[1:] if place.kind == "module"]

    # Changing all of it --------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Any:
        """Let all modules inside behave as in training, or not. Returns the module."""
        for _, module in Module.named_modules(self):
            if module.training is not mode:
                module.training = mode
        return self

    def eval(self) -> Any:
        """`train(False)`: let all modules inside behave as in use. Returns the module."""
        return self.train(False)

    def requires_grad_(self, flag: bool = True, *patterns: str) -> Any:
        """Freeze parameters (False) or train them (True): all, or those whose names match one of the patterns, like
        "backbone.*". Returns the module. ValueError for a pattern that matches none.
        """
        parameters = self.named_parameters()
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name, _ in parameters):
                near = closest(pattern, [name for name, _ in parameters])
                raise ValueError(
                    f"{type(self).__name__}.requires_grad_: no parameter matches {pattern!r}"
                    + (f"; the closest is {near!r}" if near else "")
                )
        for name, p in parameters:
            if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns):
                p.requires_grad = flag
        return self

    def to(self, dtype: Any = None, device: Device | None = None) -> Any:
        """All floating (and complex) parameters and buffers in another dtype; they stay the same objects, so an
        optimizer goes on with them. A device, which may come first, must be this machine's. Returns the module.

        TypeError, before anything changes, for a dtype that cannot hold them.
        """
        what = f"{type(self).__name__}.to"
        if isinstance(dtype, Device):
            dtype, device = None, dtype
        if device not in (None, default_device()):
            raise ValueError(f"{what}: device {device!r} is not on this machine; needle.all_devices() lists them")
        if dtype is None:
            return self
        try:
            wanted = np.dtype(dtype)
        except TypeError as error:
            raise TypeError(
                f'{what}: {dtype!r} is neither a dtype like "float64" nor a device like needle.cpu()'
            ) from error
        tensors = [place.value for place in of_kind(self, "parameter", "buffer") if place.value.dtype.kind in "fc"]
        if wanted.kind not in "fc":
            raise TypeError(f"{what}: parameters need a floating dtype, got {wanted}")
        if wanted.kind != "c" and any(tensor.dtype.kind == "c" for tensor in tensors):
            raise TypeError(f"{what}: a complex parameter has no real dtype {wanted}")
        for tensor in tensors:
            _convert(tensor, wanted)
        return self

    def float(self) -> Any:
        """All of it in float32."""
        return self.to("float32")

    def double(self) -> Any:
        """All of it in float64."""
        return self.to("float64")

    def apply(self, function: Callable[[Module], object]) -> Any:
        """Call the function with every module inside: with those within a module first, then with that. Returns the
        module.

        `model.apply(f)` is for functions like `lambda m: isinstance(m, nn.Linear) and init.xavier_uniform_(m.weight)`.
        """
        within: dict[int, list[Module]] = {}
        for place in walk(self):
            if place.kind == "module":
                within.setdefault(id(place.owner), []).append(place.value)

        def visit(module: Module) -> None:
            for child in within.get(id(module), ()):
                visit(child)
            function(module)

        visit(self)
        return self

    def reset_parameters(self, rng: init.Rng = None) -> None:
        """Draw the first values of all parameters again, in place: each layer by its own rule.

        TypeError, before anything changes, for a module with parameters of its own and no `reset_parameters`.
        """
        source = None if rng is None else init.generator(rng)
        modules, todo = [], [self]
        seen = {id(self)}
        while todo:
            module = todo.pop()
            if module is not self and type(module).reset_parameters is not Module.reset_parameters:
                modules.append(module)
                continue
            for place in walk(module, deep=False):
                if place.kind == "parameter":
                    raise TypeError(
                        f"{type(module).__name__} has the parameter {place.local!r} of its own; define "
                        "reset_parameters(self, rng=None) to say how it is drawn"
                    )
            inside = [child for child in module.children() if id(child) not in seen]
            seen.update(map(id, inside))
            todo += reversed(inside)
        for module in modules:
            module.reset_parameters(source)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def materialize(self, *args: Any, **kwargs: Any) -> Any:
        """Make the parameters that wait for an input, as those of `Linear(None, 10)`: a call with this one, in which
        nothing else changes. Returns the module. ValueError if a layer was not reached.
        """
        with evaluating(self), no_grad():
            self(*args, **kwargs)
        of_kind(self)
        return self

    def __nested__(self) -> Any:
        """It is a container of its trainable parameters to `grad`, `hvp`, `minimize` and the like, as a dict is.

        What they hand to the function, and gradients, are Modules of this class that share all else with it: buffers
        set in the function are set here, too. So take Hessians in `eval()`, in which no running mean moves.
        """
        return parts_of(self)

    # Saving and loading --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copies of the arrays of all parameters and persistent buffers, by name; a tensor of several names has one
        entry, under the first. See `nn.aliases` for the others."""
        return state_of(self)

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        strict: bool = True,
        rename: Mapping[str, str] | Callable[[str], str | None] | None = None,
    ) -> LoadReport:
        """Set all parameters and persistent buffers, by name, from arrays or tensors; nothing changes unless all fit.

        Returns a report of what is missing, unexpected or of another shape. With `strict`, one that is not empty is
        raised as a `LoadError`; else what fits is loaded. `rename` maps names of the state to the model's: a dict, or a
        function that returns None for what is to be left out.
        """
        return load_into(self, state, strict, rename)

    def torch_names(self) -> dict[str, Any]:
        """What PyTorch calls this layer's tensors, where names or layouts differ: a `TorchName` for each path from
        here, like {"weight": transposed("weight")}; see torch_state.py."""
        return {}

    def torch_extra(self) -> dict[str, Any]:
        """Tensors that PyTorch's layer has and this one has not, with the values to write for it."""
        return {}

    # Text ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands in the parentheses of a layer's repr."""
        return ""

    def __repr__(self) -> str:
        places = walk(self)
        lines = _lines(self, "")
        count = sum(place.value.size for place in places if place.kind == "parameter")
        if any(place.kind == "pending" for place in places):
            lines[0] += "  # some parameters wait for the first input"
        elif count:
            lines[0] += f"  # {count:,} parameter{'s' * (count != 1)}"
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join(_lines(self, ""))


def _lines(module: Any, label: str, around: tuple[Any, ...] = ()) -> list[str]:
    """The lines of a module's repr."""
    start = f"{label}{type(module).__name__}("
    children = [] if module in around else Module.named_children(module)
    if not children:
        return [f"{start}{module.extra_repr()})"]
    inner = [line for name, child in children for line in _lines(child, f"({name}): ", (*around, module))]
    return [start + module.extra_repr(), *[f"  {line}" for line in inner], ")"]


def _convert(tensor: Any, dtype: Any) -> None:
    """Let a tensor have this dtype, and its gradient likewise."""
    if tensor.dtype == dtype:
        return
    gradient = tensor.grad
    set_value(tensor, tensor.numpy().astype(dtype))
    tensor.grad = None if gradient is None else Tensor(gradient.numpy(), dtype=dtype, requires_grad=False)


@contextmanager
def evaluating(model: Module) -> Iterator[Module]:
    """`with nn.evaluating(model):` all modules behave as in use; afterwards each has its own flag back."""
    flags = [(module, module.training) for _, module in Module.named_modules(model)]
    try:
        yield model.eval()
    finally:
        for module, flag in flags:
            module.training = flag
