"""Records what a function computes as a graph: notes each operation while it runs, forward and backward."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from os import sep
from sys import _getframe
from typing import Any
from weakref import ref

import numpy as np

from ..autograd import Assigned, Gradient, Op, Tensor, Value
from ..ops.random import Draw
from ..watching import Watcher
from .graph import Node, Recorded, axes_of, frozen
from .places import as_compared

_KEPT = 1 << 16
"""Bytes up to which computed values are kept, since they may be constants; larger ones seldom are."""
_PACKAGE = __file__.rsplit(sep, 2)[0] + sep


class Recorder(Watcher):
    """Notes what is computed within `with recorder:`.

    The array object that a Tensor holds identifies a value: names for the same value, like `t.detach()`, are one node.
    """

    captures = True

    def __init__(self) -> None:
        self.order: list[Node] = []
        """The computed nodes, in order."""
        self.why = ""
        """Why the graph does not tell all that happened; "" if it does."""
        self.changed_tensors: dict[int, tuple[Any, set[str]]] = {}
        """Tensors whose value ("data") or gradient ("grad") was set, by id."""
        self.written: dict[int, Any] = {}
        """The arrays of Tensors with assigned elements ("elements" are among what was set), as they were, by id."""
        self._assigning: Any = None
        self._set_both = False
        self.gradients_read: dict[int, tuple[Any, Node | None]] = {}
        """Tensors whose earlier gradient was read, and its node; None if there was none."""
        self._to_check: list[Node] = []
        self.modes: dict[tuple[Any, ...], None] = {}
        """NumPy's error states in which the operations ran."""
        self._swept: dict[int, Any] = {}
        """References to the outputs whose gradients were computed, by id: another Tensor may get that of one gone."""
        self.draws: dict[int, tuple[Any, Any, Any]] = {}
        """The random generators that operations drew from (None: NumPy's global state), by id, with their states before
        the first draw and after the last."""
        self.assigned: list[Any] = []
        """Tensors with assigned elements, whose latest version was asked for."""
        self._inputs: set[Node] = set()
        self._looked_at: dict[Node, str] = {}
        """Leaves whose value was looked at, as a reason; only afterwards it is known whether they are constants."""
        self._nodes: dict[int, Node] = {}
        self._arrays: list[Any] = []  # kept alive, so that no other array gets their id
        self._references: dict[int, Any] = {}  # large computed ones may be freed with the program's
        self.named: dict[int, tuple[Any, Node]] = {}
        """Tensors that name a leaf, by id; several may name the same."""

    def add_input(self, array: Any) -> Node:
        """The node of an array passed to the function; the same one for the same array."""
        node = self._nodes.get(id(array))
        if node is None:
            node = self._put(array, _node_of(array, None, ()))
            self._inputs.add(node)
        return node

    def node(self, a: Any) -> Node:
        """The node of a Tensor's value."""
        array = a._array
        node = self._nodes.get(id(array))
        if node is None:
            node = self._put(array, _node_of(array, None, ()))
        if node.op is None and "data" not in self._what(a):
            self.named.setdefault(id(a), (a, node))
        return node

    def known(self, array: Any) -> Node | None:
        """The node of an array; None for an unknown one."""
        return self._nodes.get(id(array))

    def known_or_constant(self, array: Any) -> Node:
        """The node of an array; a constant for an unknown one."""
        node = self._nodes.get(id(array))
        return Node(None, (), array.shape, array.dtype, frozen(array), axes=axes_of(array)) if node is None else node

    def array_of(self, node: Node) -> Any:
        """The array by which a leaf became known, whose memory the program shares."""
        return next(array for array in self._arrays if self._nodes[id(array)] is node)

    def recorded(self) -> Recorded:
        values = {self._nodes[id(array)]: array for array in reversed(self._arrays)}
        return Recorded(self.order, values, self._to_check)

    def give_up(self, why: str) -> None:
        """The graph cannot stand for the function; the reason names the user's line."""
        if not self.why:
            self.why = f"{why} at {_users_line()}"

    def _put(self, array: Any, node: Node) -> Node:
        key = id(array)
        self._nodes[key] = node
        if type(array) is tuple or array.nbytes <= _KEPT or node.op is None:
            self._arrays.append(array)
        else:
            self._references[key] = ref(array, partial(self._forget, key))
        return node

    def _forget(self, key: int, reference: Any) -> None:
        """A large array is gone: another one may get its id."""
        if self._references.get(key) is reference:
            del self._references[key], self._nodes[key]

    # Hooks -------------------------------------------------------------------------------------------------------

    def computed(self, op: Op, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        array = output._array
        if isinstance(op, Draw):
            self._note_draw(op)
        self.modes[(*np.geterr().items(),)] = None
        nodes = tuple([self.node(a) for a in inputs])
        if id(array) not in self._nodes:  # else the op handed on an input
            self.order.append(self._put(array, _node_of(array, op, nodes)))

    def _note_draw(self, op: Draw) -> None:
        """Nothing but operations may draw in between: a replay would leave that out."""
        before, after = map(as_compared, op.drawn)
        _, first, last = self.draws.get(id(op.rng), (None, before, before))
        if last != before:
            self.give_up("between its operations it draws random numbers")
        self.draws[id(op.rng)] = op.rng, first, after

    def copied(self, array: Any, copy: Any) -> None:
        node = self._nodes.get(id(array))
        if node is not None:
            self._put(copy, node)

    def read(self, array: Any, what: str) -> None:
        node = self._nodes.get(id(array))
        if node is None or node.op is not None or node in self._inputs:
            self.give_up(f"{what} looks at a value")
        elif not self.why:
            self._looked_at.setdefault(node, f"{what} looks at a value at {_users_line()}")

    def seen(self, tensor: Any) -> None:
        if isinstance(tensor, Assigned):
            self.assigned.append(tensor)
        else:
            self.node(tensor)

    def left_in(self, adjoints: Any) -> None:
        self._to_check += map(self.node, adjoints)

    def sweep_begins(self, outputs: Any, again: bool) -> None:
        self._swept.update({id(y): ref(y) for y in outputs})

    def was_swept(self, tensor: Any) -> bool:
        """Whether the gradient of this output was computed."""
        reference = self._swept.get(id(tensor))
        return reference is not None and reference() is tensor

    def changed(self, tensor: Any, what: str) -> None:
        """A Tensor's "data" or "grad" was set, or something of it that a replay cannot set."""
        if what == "data":
            both = self._set_both if tensor is self._assigning else id(tensor) in self.written
            if both:
                self.give_up("it sets the data of a tensor, and assigns to its elements")
            self._assigning = None
        self.changed_tensors.setdefault(id(tensor), (tensor, set()))[1].add(what)

    def _what(self, tensor: Any) -> set[str]:
        """What was set of a Tensor so far."""
        return self.changed_tensors.get(id(tensor), (None, set()))[1]

    def elements_change(self, tensor: Any) -> None:
        """Elements of a Tensor are about to be assigned to."""
        self._set_both = id(tensor) not in self.written and "data" in self._what(tensor)
        self.written.setdefault(id(tensor), tensor._array)
        self._assigning = tensor
        self.changed(tensor, "elements")

    def joined(self, watcher: Any) -> None:
        if not watcher.captures:
            self.give_up(f"{type(watcher).__name__}() watches each operation")

    def gradient_read(self, tensor: Any) -> None:
        """A Tensor's gradient was read: one from before the function ran is an input, too."""
        key = id(tensor)
        if key in self.gradients_read or "grad" in self._what(tensor):
            return
        gradient = tensor._grad
        self.gradients_read[key] = tensor, self.add_input(gradient.array) if type(gradient) is Gradient else None

    # Afterwards --------------------------------------------------------------------------------------------------

    def state(self, is_outside: Callable[[Any], bool]) -> dict[Node, Any]:
        """The values that tensors from outside hold, each with the first such tensor. Other leaves, except inputs,
        become constants."""
        state: dict[Node, Any] = {}
        for tensor, node in self.named.values():
            if node not in self._inputs and is_outside(tensor) and isinstance(tensor, Tensor):
                state.setdefault(node, tensor)
        if any(map(is_outside, self.assigned)):
            self.why = self.why or "elements of a tensor from outside had been assigned to"
        self.why = self.why or next((why for node, why in self._looked_at.items() if node in state), "")
        self.make_constants(set(state))
        return state

    def make_constants(self, state: set[Node]) -> None:
        """Make constants of all leaves that are neither inputs nor these."""
        for array in self._arrays:
            node = self._nodes[id(array)]
            if node.op is None and node not in self._inputs and node not in state:
                node.array = frozen(array)


class Newborn:
    """The Tensors made within `with newborn:`; ask `tensor in newborn`. Garbage collection pauses meanwhile, so that
    they stay among the youngest objects, and the others need not be searched."""

    def __enter__(self) -> None:
        self._enabled = gc.isenabled()
        gc.disable()
        self._before = _youngest()

    def __exit__(self, *error: object) -> None:
        self._references = {
            key: reference for key, reference in _youngest().items() if self._before.get(key) is not reference
        }
        self._before = {}
        if self._enabled:
            gc.enable()

    def __contains__(self, tensor: Any) -> bool:
        reference = self._references.get(id(tensor))
        return reference is not None and reference() is tensor


def _youngest() -> dict[int, ref[Any]]:
    return {id(thing): ref(thing) for thing in gc.get_objects(generation=0) if issubclass(type(thing), Value)}


def _node_of(array: Any, op: Op | None, inputs: tuple[Node, ...]) -> Node:
    if type(array) is tuple:
        return Node(op, inputs, None, None)
    return Node(op, inputs, array.shape, array.dtype, axes=axes_of(array))


def _users_line() -> str:
    """The line of the user's code that called Needle: file:line."""
    frame = _getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
