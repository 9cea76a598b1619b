"""What a function computes, as a list of operations, each with the layer that it ran in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from .. import nested
from ..autograd import Op, Tensor, constant, no_grad
from ..compile.graph import Node
from ..compile.record import Recorder
from ..nn import Module, evaluating
from ..nn.calls import CallWatcher


class Trace(Recorder):
    """The operations that a function applied to inputs, in evaluation mode and without recording gradients."""

    def __init__(self, function: Callable[..., Any], rebuild: nested.Rebuild, arrays: Sequence[Any]):
        super().__init__()
        self.layers: dict[Node, str] = {}
        """The layers that computed nodes come from."""
        self.arrays: dict[Node, Any] = {}
        """The arrays of leaves."""
        self._calls = Calls(function)
        tensors = [constant(array) for array in arrays]
        self.inputs = [self.add_input(tensor._array) for tensor in tensors]
        with self._calls, no_grad(), self:
            returned = function(*rebuild(iter(tensors)))
            tree, _ = nested.flatten(returned)
            for output in tree:
                if not isinstance(output, Tensor):
                    raise TypeError(f"onnx.export: the function must return Tensors, got {type(output).__name__}")
                _ = output._array  # in lazy mode it is computed here
        if not tree:
            raise TypeError(f"onnx.export: the function must return Tensors, got {type(returned).__name__}")
        self.outputs = [self.node(output) for output in tree]
        for output, node in zip(tree, self.outputs, strict=True):
            self.arrays.setdefault(node, output._array)
        self.expected = [output._array.copy() for output in tree]
        """The values of the outputs."""
        self.names = self._named()
        """The names of leaves: those of parameters, or of the function's variables."""

    def computed(self, op: Op, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        for a in inputs:
            node = self.node(a)
            if node.op is None:
                self.arrays[node] = a._array
        super().computed(op, inputs, output, seconds)
        if self.order and self.order[-1] not in self.layers:
            self.layers[self.order[-1]] = self._calls.here

    def _named(self) -> dict[Node, str]:
        found: dict[Node, str] = {}
        for name, tensor in self._calls.tensors():
            node = self.known(tensor._array)
            if node is not None and node.op is None:
                found.setdefault(node, name)
        return found


class Calls(CallWatcher):
    """Which module is being called; those that the function calls are in evaluation mode within `with calls:`."""

    def __init__(self, function: Callable[..., Any]):
        self._path: list[str] = []
        self._names: dict[int, str] = {}
        self._variables = {} if isinstance(function, Module) else variables_of(function)
        self._roots: list[tuple[str, Module]] = []
        self._evaluating = ExitStack()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._evaluating.close()

    @property
    def here(self) -> str:
        """The module that is being called; "" if none is."""
        return self._path[-1] if self._path else ""

    def begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if id(module) not in self._names:
            self._add(module)
        self._path.append(self._names[id(module)])

    def ends(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._path.pop()

    def _add(self, root: Any) -> None:
        """A module that no other one holds."""
        variable = next((name for name, value in self._variables.items() if value is root), "")
        prefix = "" if not self._roots else variable or f"{type(root).__name__.lower()}{len(self._roots) + 1}"
        self._roots.append((prefix, root))
        self._evaluating.enter_context(evaluating(root))
        for name, module in Module.named_modules(root):
            path = ".".join(filter(None, (prefix, name)))
            self._names[id(module)] = f"{path} ({type(module).__name__})" if path else type(module).__name__

    def tensors(self) -> list[tuple[str, Any]]:
        """The parameters and buffers of all modules that were called, and the function's own variables, by name."""
        found: list[tuple[str, Any]] = []
        for prefix, root in self._roots:
            held = [*Module.named_parameters(root), *Module.named_buffers(root)]
            found += [(".".join(filter(None, (prefix, name))), tensor) for name, tensor in held]
        return found + [(name, value) for name, value in self._variables.items() if isinstance(value, Tensor)]


def variables_of(function: Any) -> dict[str, Any]:
    """What a function finds outside of its body, by name."""
    try:
        variables = inspect.getclosurevars(getattr(function, "__func__", function))
    except TypeError:
        return {}
    return {**variables.globals, **variables.nonlocals}
