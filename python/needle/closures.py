"""What functions and ops read besides their arguments, by name; errors about tensors whose gradient would be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from .callers import advice

_EMPTY = CellType()
_MOST = 10_000
"""The number of things that are looked through for a name."""


def is_tensor(value: Any) -> bool:
    return hasattr(type(value), "needs")


def _members(thing: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What can be reached from a thing of this name in one step, and how it is written."""
    if isinstance(thing, MethodType):
        yield "self", thing.__self__
        yield name, thing.__func__
    elif isinstance(thing, FunctionType):
        code, defaults = thing.__code__, thing.__defaults__ or ()
        cells = zip(code.co_freevars, thing.__closure__ or (), strict=True)
        yield from ((variable, cell.cell_contents) for variable, cell in cells if cell != _EMPTY)
        yield from zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
        yield from (thing.__kwdefaults__ or {}).items()
        yield from ((word, thing.__globals__[word]) for word in code.co_names if word in thing.__globals__)
    elif isinstance(thing, Mapping):
        yield from ((f"{name}[{key!r}]", value) for key, value in thing.items())
    elif isinstance(thing, (list, tuple)):
        yield from ((f"{name}[{i}]", value) for i, value in enumerate(thing))
    elif not isinstance(thing, (type, ModuleType, BuiltinFunctionType, str, bytes, int, float, complex)):
        for cls in type(thing).__mro__:
            slots = vars(cls).get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if hasattr(thing, slot):
                    yield f"{name}.{slot}", getattr(thing, slot)
        yield from ((f"{name}.{key}", value) for key, value in getattr(thing, "__dict__", {}).items())


def name_of_tensor(holders: Iterable[tuple[str, Any]], which: Callable[[Any], bool]) -> str:
    """How such a tensor is written within these functions, ops or objects, the nearest first; "" if none is found."""
    reached, seen = list(holders), set()
    for name, thing in reached:  # which grows meanwhile
        if is_tensor(thing):
            if which(thing):
                return name
        elif id(thing) not in seen and len(reached) < _MOST:
            seen.add(id(thing))
            reached.extend(_members(thing, name))
    return ""


def nodes_behind(outputs: Iterable[Any]) -> set[Any]:
    """These, and all that they were computed from."""
    found: set[Any] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.inputs)
    return found


def moves(value: Any, variable: int) -> bool:
    """Whether it is wrapped by a transform, or recorded from the variable of one, which needs this much."""
    return any(hasattr(node, "level") or (node.op is None and node.needs == variable) for node in nodes_behind([value]))


def starts(value: Any, detached: int) -> bool:
    """Whether something that is not detached is left behind it: a transform that is over lets go of its variables."""
    behind = nodes_behind([value])
    return any(hasattr(node.op, "replay") or (node.op is None and node.needs > detached) for node in behind)


def gradient_dropped(what: str, instead: str) -> str:
    """What is wrong with taking a number or an array of a Tensor that is recorded, as `what` did."""
    return (
        f"{what}: this Tensor needs a gradient, and {what} would drop it silently; write {instead} where only the "
        "value is meant. np.stack([t, u]) makes one Tensor of several, needle.numpy.zeros(shape) one that others can "
        f"be assigned to{advice()}"
    )


def derivative_dropped(what: str, shape: tuple[int, ...]) -> str:
    """What is wrong with keeping the value alone of a Tensor that a transform differentiates, as `what` did."""
    return (
        f"{what}: the transform that is running (grad, jvp, ...) differentiates this Tensor of shape {shape}, and "
        f"{what} would drop its derivative silently; write t.copy() for a copy that keeps it, t.detach() where only "
        "the value is meant"
    )


def check_closure(what: str, f: Any, outputs: Iterable[Any], again: Callable[[], Iterable[Any]]) -> None:
    """Raise TypeError if these recorded or wrapped outputs of f depend on a tensor that f closes over, and not only on
    tensors that it makes, which are others when it runs `again`."""
    behind = nodes_behind(outputs)
    if not any(hasattr(y, "level") for y in outputs):
        both = behind & nodes_behind(filter(is_tensor, again()))
        behind = {node for node in both if getattr(node, "requires_grad", False)}
    if behind:
        name = name_of_tensor([("self", f)], lambda t: t in behind or hasattr(t, "level"))
        raise TypeError(
            f"{what} closes over {name or 'a tensor'}, whose gradient would be lost; pass {name or 'it'} as an "
            f"argument, or use {name or 'the tensor'}.detach() if it is a constant"
        )


def computes_a_tensor(op: Any) -> TypeError:
    """The error for an op whose `compute` returned a Tensor."""
    name = name_of_tensor([("self", op)], lambda _: True)
    return TypeError(
        f"{op!r}: compute must return an array, got a Tensor; "
        + (
            f"{name} is one, and its gradient would be lost: pass {name} as another input, or use {name}.numpy() if it "
            "is a constant"
            if name
            else "it sees arrays, so compute with NumPy's functions, or return t.numpy()"
        )
    )


def _levels(values: Iterable[Any]) -> set[int]:
    """The levels of the transforms that wrap these."""
    found, stack = set(), list(values)
    while stack:
        value = stack.pop()
        if isinstance(value, tuple):
            stack.extend(value)
        elif hasattr(value, "level"):
            if not hasattr(value, "mask"):  # that of a structural zero belongs to no transform
                found.add(value.level)
            stack.append(value.value)
    return found


def check_levels(level: int, derivatives: Iterable[Any], given: Iterable[Any], nodes: Iterable[Any]) -> None:
    """Raise TypeError if a transform of this level, which took these derivatives from those given, finds tensors in
    them that it follows itself: the rule of an op that a user wrote uses a tensor that is no input of the op."""
    known = _levels(given)

    def leaks(value: Any) -> bool:
        return any(n >= level and n not in known for n in _levels([value]))

    if any(map(leaks, derivatives)):
        ops = [node.op for node in nodes_behind(nodes)]
        users = {repr(op): op for op in ops if op is not None and not op.on_arrays}
        name = name_of_tensor([("self", op) for op in users.values()], leaks)
        raise TypeError(
            f"the rule of {' or '.join(users) or 'an op'} uses {name or 'a tensor'}, which is differentiated and is "
            f"no argument; pass {name or 'it'} as an argument, with an adjoint of its own, or use "
            f"{name or 'the tensor'}.detach() if it is a constant"
        )
