"""What copy.deepcopy makes of tensors: the copies are connected as the tensors of one call are."""

from __future__ import annotations

from typing import Any


class _Copied:
    """The tensors that one deepcopy has copied so far. The memo holds it, and so it goes with the call."""

    def __init__(self) -> None:
        self.leaves: dict[Any, Any] = {}  # to their copies
        self.twins: dict[Any, Any] = {}  # of computed tensors, those in between too
        self.users: dict[Any, list[Any]] = {}  # of leaves that are not copied yet, or never
        self.connected: set[Any] = set()

    def connect(self) -> None:
        """Let the twins have been computed from twins, and from the copies of leaves."""
        stack = [node for node in self.twins if node not in self.connected]
        while stack:
            node = stack.pop()
            if node in self.connected:
                continue
            self.connected.add(node)
            inputs = [getattr(a.op, "original", a) for a in node.inputs]  # before it was assigned to
            twin = self.twins[node]
            twin.op, twin.saved, twin.needs = node.op, node.saved, node.needs
            twin.inputs = tuple(map(self._twin, inputs))
            for a in inputs:
                if a.inputs:
                    stack.append(a)
                else:
                    self.users.setdefault(a, []).append(twin)

    def _twin(self, node: Any) -> Any:
        if not node.inputs:
            return self.leaves.get(node, node)
        if node not in self.twins:
            self.twins[node] = twin = object.__new__(type(node))
            twin._array, twin._grad = node._array, None
        return self.twins[node]


def linked(value: Any, made: Any, memo: dict[Any, Any], *, is_leaf: bool) -> Any:
    """The copy that deepcopy `made` of a leaf, or of a computed tensor, connected to the others of this deepcopy.

    A computed tensor belongs to the copies of its leaves. As long as none of them is copied, it stays an operation on
    the tensor itself.
    """
    copied = memo.setdefault(_Copied, _Copied())
    if is_leaf:
        copied.leaves[value] = made
        for twin in copied.users.pop(value, ()):
            twin.inputs = tuple([made if a is value else a for a in twin.inputs])
    elif value in copied.twins:  # made for another one, which was computed from it
        copied.twins[value]._array = made._array
        made = copied.twins[value]
    elif value.inputs:
        copied.twins[value] = made
    if copied.leaves:
        copied.connect()
    return made


def copy_of_name(name: Any, original: Any, latest: Any) -> Any:
    """The deepcopy of a tensor that was assigned to, from those of what it was and of what it is: a name, too."""
    made = object.__new__(type(name))
    made.op, made.inputs, made.saved, made._grad = type(name.op)(original, None, None), (), latest, None
    made.needs = latest.needs
    return made
