"""Define, then run: `Variable`s without values, expressions of them, `gradients` of these, and an `Executor` that
computes them for the values it is fed.

>>> import needle.symbolic as ad
>>> x1, x2 = ad.Variable(name="x1"), ad.Variable(name="x2")
>>> y = x1 * x2 + x1
>>> g1, g2 = ad.gradients(y, [x1, x2])
>>> y
((x1*x2)+x1)
>>> ad.Executor([y, g1, g2]).run(feed_dict={x1: [1.0, 2.0], x2: [3.0, 5.0]})
[array([ 4., 12.]), array([4., 6.]), array([1., 2.])]

A `Node` is a call that has not been made: a function, and its arguments with nodes among them. The first run for some
shapes and dtypes makes the calls, on Tensors, under a recorder; later ones replay a plan of what was recorded. So a
node has no shape, and any function of Tensors can be in a graph: a gradient is a call like the others.

Needle's functions take a node for a Tensor. A function that gets as far as calling an op makes a node of that op. One
that asks for a shape first fails; so the public functions are rebound below, to make a node of the whole call then.
"""

from __future__ import annotations

import operator
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any, NoReturn

import numpy as np

from . import autograd, ops, watching
from . import numpy as numpy_
from .autograd import (
    CONSTANT,
    IDENTITY,
    RECORDED,
    Op,
    Tensor,
    TensorTuple,
    Value,
    Wrapped,
    WrappedTuple,
    constant,
    enable_grad,
    find_topo_sort,
    gradient_dtype,
    latest,
    no_grad,
    ones_like,
    sweep,
    value_of,
)
from .backend import array_of_numbers
from .compile.places import global_random_states
from .compile.plan import Plan
from .compile.record import Newborn, Recorder
from .nested import children_of
from .numpy.methods import METHODS as NUMPY_METHODS
from .numpy.ufuncs import ufunc
from .ops.base import View, decides_itself, is_operand
from .ops.binding import METHODS, OPERATORS
from .ops.tuples import MAKE_TENSOR_TUPLE
from .seeing.names import short, written

PLANS = 64
"""The number of latest signatures (shapes and dtypes) whose plans an Executor keeps."""


class NotYetError(TypeError):
    """A node was asked for something that is known only when the graph is run."""


class _NoArrayError(NotYetError, AttributeError):
    """The same for its array: an op that catches this calls `Node.process`."""


class Node(Wrapped):
    """A value of a symbolic graph: what `function(*args, **kwargs)` will return, or what a Variable will be fed.

    Operators, methods, indices and functions of nodes make nodes; `str(node)` is the expression. `inputs` are the nodes
    among the arguments. Tensors and arrays among the arguments are constants, with their values at that time.
    """

    __slots__ = ("args", "function", "kwargs", "variable")
    __hash__ = object.__hash__  # == makes a node
    function: Callable[..., Any] | None
    """The function that computes it; None for a Variable."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    variable: str
    """A Variable's name."""

    def __init__(
        self,
        function: Callable[..., Any] | None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        variable: str = "",
    ):
        super().__init__(sys.maxsize, None)
        if kwargs and kwargs.get("out") is not None:
            raise TypeError(f"{_name_of(function)}: a node is computed when the graph is run; leave out= away")
        inputs: dict[Node, None] = {}

        def kept(a: Any) -> Any:
            if isinstance(a, Node):
                inputs[a] = None
                return a
            if isinstance(a, Value):
                return constant(_frozen(_value_of(a, "a constant of a symbolic graph")))
            return _frozen(a.copy()) if isinstance(a, np.ndarray) else a

        self.function = function
        self.args = tuple([_mapped(a, kept) for a in args])
        self.kwargs = {key: _mapped(a, kept) for key, a in (kwargs or {}).items()}
        self.variable = variable
        self.inputs = tuple(inputs)

    @property
    def name(self) -> str:
        """The expression, as `str(node)` has it."""
        return _expression(self)

    def __repr__(self) -> str:
        return _expression(self)

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(_expression(self), spec)

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        return Node(op, inputs)

    def gathered(self, members: tuple[Any, ...]) -> Any:
        return Node(MAKE_TENSOR_TUPLE, members)

    def is_leaf(self) -> bool:
        """Whether it is a Variable."""
        return self.function is None

    def detach(self) -> Tensor:
        """The same value, through which nothing is differentiated."""
        return Node(_Method("detach"), (self,))

    def __getattr__(self, name: str) -> Any:
        if name == "_array":
            raise _NoArrayError("a node has no value before the graph is run")
        raise AttributeError(f"a node has no attribute {name!r}")

    def __array_ufunc__(self, of: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(map(decides_itself, inputs)):
            return NotImplemented
        if method == "at":
            _refuse_to_write(self)
        return Node(of if method == "__call__" else getattr(of, method), inputs, options)

    def __array_function__(self, of: Any, types: Any, args: Any, options: dict[str, Any]) -> Any:
        if not all(issubclass(cls, (Tensor, np.ndarray)) for cls in types):
            return NotImplemented
        if of.__name__ in _WRITING:
            _refuse_to_write(self)
        return Node(of, args, options)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"pickle: {_expression(self, 100)} is a node of a symbolic graph, whose Variables are told apart by "
            "identity; keep the program that makes it, and pickle the arrays of a run"
        )


def Variable(name: str) -> Node:
    """A node whose value is fed when the graph is run."""
    if not isinstance(name, str) or not name:
        raise TypeError(f'Variable: needs a name to be printed with, as in Variable(name="x"), got {name!r}')
    return Node(None, variable=name)


def apply(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
    """The node of function(*args, **kwargs), which runs on Tensors when the graph is run: for functions of your own
    that ask for shapes. It is called once for each new signature of shapes and dtypes, and must depend on nothing but
    its arguments.

    >>> x = Variable(name="x")
    >>> y = apply(lambda x: x.reshape(len(x), -1), x)
    """
    if not callable(function):
        raise TypeError(f"apply: needs a function and its arguments, got {function!r}")
    return Node(function, args, kwargs)


# Arguments -----------------------------------------------------------------------------------------------------------


def _mapped(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same containers, including slices, around leaf(member)."""
    if isinstance(tree, (Tensor, np.ndarray)):
        return leaf(tree)
    if type(tree) is slice:
        return slice(*[_mapped(a, leaf) for a in (tree.start, tree.stop, tree.step)])
    keys, children, make = children_of(tree)
    if make is None:
        return leaf(tree)
    return make({key: _mapped(child, leaf) for key, child in zip(keys, children, strict=True)})


def _holds_node(tree: Any) -> bool:
    if isinstance(tree, (Tensor, np.ndarray)):
        return isinstance(tree, Node)
    _, children, make = children_of(tree)
    return make is not None and any(map(_holds_node, children))


def _value_of(a: Value, what: str) -> Any:
    """A copy of a Tensor's value; TypeError if that would lose a gradient."""
    a = latest(a)
    if isinstance(a, (Wrapped, WrappedTuple)) or not isinstance(a, Tensor):
        kind = "is a tuple" if isinstance(a, TensorTuple) else "belongs to a transform that is running (grad, jvp, ...)"
        raise TypeError(f"{what}: this {type(a).__name__} {kind}; give its value, t.numpy()")
    if a.op is not None:
        a._leaves_the_record(what, "t.detach()")
    return value_of(a, what)


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


# What nodes do -------------------------------------------------------------------------------------------------------


class _Method:
    """The method of this name, called on the first argument."""

    __slots__ = ("__name__",)

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(self, a: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(a, self.__name__)(*args, **kwargs)


class _Attribute:
    """The attribute of this name."""

    __slots__ = ("__name__",)

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(self, a: Any) -> Any:
        return getattr(a, self.__name__)


def _operator(function: Callable[..., Any], reflected: bool) -> Callable[..., Any]:
    def method(self: Node, *others: Any) -> Any:
        if not all(map(is_operand, others)):
            return NotImplemented
        return Node(function, (*others, self) if reflected else (self, *others))

    return method


def _method(name: str) -> Callable[..., Any]:
    function = _Method(name)
    return lambda self, *args, **kwargs: Node(function, (self, *args), kwargs)


def _attribute(name: str) -> property:
    function = _Attribute(name)
    return property(lambda self: Node(function, (self,)))


def _refuse_to_write(node: Node) -> NoReturn:
    raise TypeError(
        f"{_expression(node, 100)}: a node cannot be written into; make another one, with np.where, np.concatenate, "
        "np.sort"
    )


def _refusal(name: str, fix: str) -> Callable[..., Any]:
    def refuse(self: Node, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotYetError(f"{name} of {_expression(self, 100)}: known only when the graph is run; {fix}")

    return refuse


_WRITING = {"copyto", "place", "put", "put_along_axis", "putmask", "fill_diagonal"}
_WAIT = "symbolic.apply(f, x) calls f with Tensors then"
_RUN = "Executor([node]).run(feed_dict) gives its value"
_REFUSALS = {
    "shape": f"np.shape(x) is a node for it, and {_WAIT}",
    "ndim": f"np.ndim(x) is a node for it, and {_WAIT}",
    "size": f"np.size(x) is a node for it, and {_WAIT}",
    "nbytes": _WAIT,
    "dtype": _WAIT,
    "__len__": f"np.shape(x)[0] is a node for it, and {_WAIT}",
    "__iter__": f"x[0], x[1] are nodes for its members, and {_WAIT}",
    "__contains__": f"(x == a).any() is a node for it, and {_RUN}",
    "__bool__": f"np.where(condition, a, b) chooses by elements, {_WAIT}, and {_RUN}",
    "__array__": f"np.stack([x, y]) is a node for several in one array, and {_RUN}",
    **dict.fromkeys(["__float__", "__int__", "__complex__", "__index__", "__dlpack__", "__dlpack_device__"], _RUN),
    **dict.fromkeys(["item", "numpy", "tolist", "cached_data", "realize_cached_data", "laid_out", "twin"], _RUN),
    **dict.fromkeys(["backward", "retain_grad", "grad"], "gradients(y, [x]) makes the nodes of the gradients"),
    "requires_grad": "gradients(y, [x]) differentiates by any node, and x.detach() is a constant",
}


def _bind_to_node() -> None:
    """Let the operators and methods of a Tensor make nodes."""
    for name in OPERATORS:
        of_other = f"__{name[3:]}"  # of __radd__ and __iadd__
        plain = of_other if name[2] in "ri" and hasattr(operator, of_other) else name
        function = getattr(operator, plain, None)
        if function is not None and name != "__setitem__":
            setattr(Node, name, _operator(function, plain != name and name.startswith("__r")))
    setattr(Node, "__getitem__", lambda self, index: Node(operator.getitem, (self, index)))  # noqa: B010
    own = vars(Node)
    for name, what in {**METHODS, **NUMPY_METHODS}.items():
        if name not in own and name != "__array_namespace__":
            setattr(Node, name, _attribute(name) if isinstance(what, property) else _method(name))
    Node.data = property(lambda self: self.detach())  # type: ignore[method-assign, assignment]
    for name, fix in _REFUSALS.items():
        refuse = _refusal(name.strip("_") + "()" * name.startswith("__"), fix)
        setattr(Node, name, property(refuse) if isinstance(getattr(Tensor, name, None), property) else refuse)
    for name in ("__setitem__", "fill", "put", "sort", "partition"):
        setattr(Node, name, lambda self, *args, **kwargs: _refuse_to_write(self))


def _either(function: Callable[..., Any], of_first: Callable[[Any], Any] | None = None) -> Any:
    """The function; if nodes make it fail, it returns the node of the call instead: a call of `of_first(args[0])` with
    the other arguments, if that is given."""

    @wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except NotYetError:
            if function.__name__ in _WRITING and args and isinstance(args[0], Node):
                _refuse_to_write(args[0])
            if not _holds_node((args, kwargs)):
                raise
            return Node(function, args, kwargs) if of_first is None else Node(of_first(args[0]), args[1:], kwargs)

    return either


def _bind_functions(*modules: ModuleType) -> None:
    """Let the public functions in these modules make a node if they ask a node for what it does not know. From the
    import of this module on, this costs them a tenth of a microsecond, but only in calls by way of these modules:
    Needle's own calls go elsewhere."""
    bound: dict[Any, Any] = {}
    for module in modules:
        for name, function in list(vars(module).items()):
            if isinstance(function, FunctionType) and function.__module__.startswith(_OF_TENSORS) and name[0] != "_":
                if function not in bound:
                    bound[function] = _either(function)
                    bound[function].__module__ = module.__name__  # where pickle finds it
                setattr(module, name, bound[function])
    ufunc.__call__ = _either(ufunc.__call__, lambda self: self)  # type: ignore[method-assign]
    for name in ("reduce", "accumulate", "outer", "reduceat"):
        setattr(ufunc, name, _either(getattr(ufunc, name), operator.attrgetter(name)))


def _bind_views() -> None:
    """Let views note what they show, unless that is a node, which has no memory."""
    note = View._note_special

    def note_special(self: View, node: Any, a: Any) -> None:
        if not isinstance(node, Node):
            note(self, node, a)

    View._note_special = note_special  # type: ignore[method-assign]


_OF_TENSORS = tuple(f"{__package__}.{name}" for name in ("ops", "numpy", "special", "einops"))


# Expressions ---------------------------------------------------------------------------------------------------------

_SYMBOLS: dict[Any, str] = {
    **dict.fromkeys([operator.add, np.add], "+"),
    **dict.fromkeys([operator.sub, np.subtract], "-"),
    **dict.fromkeys([operator.mul, np.multiply], "*"),
    **dict.fromkeys([operator.truediv, np.divide], "/"),
    **dict.fromkeys([operator.floordiv, np.floor_divide], "//"),
    **dict.fromkeys([operator.mod, np.remainder], "%"),
    **dict.fromkeys([operator.pow, np.power], "**"),
    **dict.fromkeys([operator.matmul, np.matmul], "@"),
    **dict.fromkeys([operator.and_, np.bitwise_and], "&"),
    **dict.fromkeys([operator.or_, np.bitwise_or], "|"),
    **dict.fromkeys([operator.xor, np.bitwise_xor], "^"),
    **dict.fromkeys([operator.lshift, np.left_shift], "<<"),
    **dict.fromkeys([operator.rshift, np.right_shift], ">>"),
    **dict.fromkeys([operator.lt, np.less], "<"),
    **dict.fromkeys([operator.le, np.less_equal], "<="),
    **dict.fromkeys([operator.gt, np.greater], ">"),
    **dict.fromkeys([operator.ge, np.greater_equal], ">="),
    **dict.fromkeys([operator.eq, np.equal], "=="),
    **dict.fromkeys([operator.ne, np.not_equal], "!="),
}
_SIGNS: dict[Any, str] = {
    **dict.fromkeys([operator.neg, np.negative], "-"),
    **dict.fromkeys([operator.pos, np.positive], "+"),
    **dict.fromkeys([operator.invert, np.invert], "~"),
}
_LONGEST = 10_000
"""The most characters of an expression. It can be far longer than the graph: what is used twice is written twice."""


def _expression(node: Node, longest: int = _LONGEST) -> str:
    """The node as an expression; by a loop, for graphs of any depth."""
    text: list[str] = []
    length, stack = 0, [node]
    while stack:
        part: Any = stack.pop()
        if isinstance(part, Node):
            stack += reversed(_parts(part))
        elif part:
            text.append(part)
            length += len(part)
            if length > longest:
                return "".join(text)[:longest] + "..."
    return "".join(text)


def _parts(node: Node) -> list[Any]:
    """The expression in texts and nodes."""
    function, args = node.function, node.args
    if function is None:
        return [node.variable]
    if not node.kwargs:
        if len(args) == 2 and function in _SYMBOLS:
            return ["(", *_written(args[0]), _SYMBOLS[function], *_written(args[1]), ")"]
        if len(args) == 1 and function in _SIGNS:
            return ["(", _SIGNS[function], *_written(args[0]), ")"]
        if function is operator.getitem:
            if isinstance(args[0], Node) and args[0].function is _gradients:
                return ["gradient(", args[0].args[0], ", ", args[0].args[1 + args[1]], ")"]
            index = args[1] if type(args[1]) is tuple else (args[1],)
            return [*_written(args[0]), "[", *_joined(list(map(_written, index))), "]"]
    if isinstance(function, _Attribute):
        return [*_written(args[0]), f".{_name_of(function)}"]
    if isinstance(function, Op):
        return _op_parts(function, args)
    options = [[f"{key}=", *_written(a)] for key, a in node.kwargs.items()]
    if isinstance(function, _Method):
        return [*_written(args[0]), f".{_name_of(function)}(", *_joined([*map(_written, args[1:]), *options]), ")"]
    return [f"{_name_of(function)}(", *_joined([*map(_written, args), *options]), ")"]


def _op_parts(op: Op, args: tuple[Any, ...]) -> list[Any]:
    text = written(op, [f"\0{i}\0" for i in range(len(args))])
    if re.match(r"-?(\{0\}|\{scalar\})( |$)", op.notation):
        text = f"({text.replace(' ', '')})"
    pieces = text.split("\0")
    return [part for i, piece in enumerate(pieces) for part in (_written(args[int(piece)]) if i % 2 else [piece])]


def _name_of(function: Any) -> str:
    owner = getattr(function, "__self__", None)  # of np.add.reduce
    prefix = f"{owner.__name__}." if isinstance(owner, (np.ufunc, ufunc)) else ""
    return prefix + (getattr(function, "__name__", "") or repr(function)).strip("_")


def _joined(parts: Sequence[list[Any]]) -> list[Any]:
    return [part for i, piece in enumerate(parts) for part in ([", ", *piece] if i else piece)]


def _written(a: Any) -> list[Any]:
    """An argument in texts and nodes."""
    if isinstance(a, Node):
        return [a]
    if type(a) in (list, tuple):
        left, right = "[]" if type(a) is list else "()"
        return [left, *_joined([_written(member) for member in a]), "," * (type(a) is tuple and len(a) == 1), right]
    if isinstance(a, Tensor):
        a = a._array
    if isinstance(a, np.ndarray) and a.ndim == 0:
        a = a.item()
    return [getattr(a, "__name__", "") or short(a)]


# Gradients -----------------------------------------------------------------------------------------------------------


def gradients(y: Node, xs: Sequence[Node]) -> list[Node]:
    """The nodes of the derivatives of y's sum by each of the nodes xs, which may be differentiated again.

    As everywhere in Needle, they have the shapes and dtypes of xs, float64 for integers. Raises ValueError if y is not
    computed from each of xs.

    >>> x = Variable(name="x")
    >>> (slope,) = gradients(x**3, [x])
    >>> (curvature,) = gradients(slope, [x])
    >>> Executor([slope, curvature]).run({x: 2.0})
    [array(12.), array(12.)]
    """
    if not isinstance(y, Node):
        raise TypeError(f"gradients: differentiates a node, got {type(y).__name__}; give gradients(y, [x1, x2])")
    if isinstance(xs, Node) or not isinstance(xs, Iterable) or not all(isinstance(x, Node) for x in xs):
        raise TypeError(
            f"gradients: needs a list of nodes to differentiate by, got {xs!r:.100}; give gradients(y, [x])"
        )
    xs = list(xs)
    reached = set(_sort([y]))
    for x in xs:
        if x not in reached:
            raise ValueError(
                f"gradients: {_expression(y, 100)} is not computed from {_expression(x, 100)}, so there is nothing to "
                "differentiate; leave it out, or write zeroslike_op of it where a zero is meant"
            )
    sweep = Node(_gradients, (y, *xs))
    return [Node(operator.getitem, (sweep, i)) for i in range(len(xs))]


def _gradients(y: Any, *xs: Any) -> tuple[Any, ...]:
    """The adjoints of these Tensors, from ones for y; differentiable like all that a run computes."""
    for a in (y, *xs):
        if not isinstance(a, Tensor) or a.dtype.kind == "b":
            got = f"a Tensor of {a.dtype}" if isinstance(a, Tensor) else f"a {type(a).__name__}"
            raise TypeError(
                f"gradients: needs numbers, got {got}; of a tuple, take y[0], and of booleans astype(float)"
            )
    found: dict[Any, Any] = dict(sweep({y: constant(ones_like(y._array))}, xs, tensors=True, record=True))
    return tuple([found[x] if x in found else constant(np.zeros(x.shape, gradient_dtype(x.dtype))) for x in xs])


def _sort(nodes: Sequence[Node]) -> list[Node]:
    return find_topo_sort(nodes, lambda node: node.inputs)


# Runs ----------------------------------------------------------------------------------------------------------------


class Executor:
    """Computes these nodes for the values of Variables. Several threads may run it at once.

    A run for new shapes or dtypes makes the calls that the nodes stand for, and plans the graph of what they computed;
    later runs replay the plan. `explain()` describes the plans.
    """

    def __init__(self, eval_node_list: Sequence[Node]):
        nodes: Any = eval_node_list
        if isinstance(nodes, Node) or not isinstance(nodes, Iterable) or not all(isinstance(a, Node) for a in nodes):
            raise TypeError(f"Executor: needs a list of nodes to compute, got {nodes!r:.100}; give Executor([y])")
        self._nodes = list(nodes)
        self._order = _sort(self._nodes)
        self._variables = [node for node in self._order if node.function is None]
        self._runs: dict[Any, _Run] = {}
        self._lock = threading.RLock()

    def run(self, feed_dict: Mapping[Any, Any] | None = None) -> list[Any]:
        """The values of the nodes, in order, as new NumPy arrays, for these values of the Variables: arrays, numbers,
        lists or Tensors."""
        arrays = self._fed({} if feed_dict is None else feed_dict)
        if watching.active and (autograd.LAZY_MODE or watching.here()):
            return self._results(self._evaluate(arrays))
        signature = tuple([(a.shape, a.dtype) for a in arrays])
        run = self._runs.get(signature)
        if run is None:
            with self._lock:
                run = self._runs.get(signature)
                if run is None:
                    return self._plan(signature, arrays)
        if run.plan is not None:
            try:
                return run.replay(arrays)
            except Exception:  # a shape that depends on data, or an error that the nodes report better
                pass
        return self._results(self._evaluate(arrays))

    def explain(self) -> str:
        """The plan for each signature of shapes and dtypes, in words and numbers."""
        names = [variable.variable for variable in self._variables]
        lines = []
        for signature, run in list(self._runs.items()):
            fed = ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in zip(names, signature, strict=True))
            lines.append(f"for {fed or 'no feeds'}\n{run.explain()}")
        return "\n\n".join(lines) or "not run yet"

    def _fed(self, feeds: Mapping[Any, Any]) -> list[Any]:
        """The arrays of the Variables, in order."""
        if not isinstance(feeds, Mapping):
            raise TypeError(f"Executor.run: feed_dict is a dict of Variables and their values, got {feeds!r:.100}")
        missing = [variable.variable for variable in self._variables if variable not in feeds]
        if missing:
            raise ValueError(
                f"Executor.run: no value was fed for {', '.join(missing)}; give it as "
                f"feed_dict={{{', '.join(f'{name}: ...' for name in missing)}}}"
            )
        if len(feeds) > len(self._variables):
            known = set(self._variables)
            for node in feeds:
                if not isinstance(node, Node) or node not in known:
                    what = "is no Variable, and cannot be fed" if isinstance(node, Node) and node.function else "is fed"
                    raise ValueError(
                        f"Executor.run: {node!r:.100} {what}, but what is computed depends on "
                        f"{', '.join(a.variable for a in self._variables) or 'nothing'}; leave it out of feed_dict"
                    )
        return [_fed(variable, feeds[variable]) for variable in self._variables]

    def _evaluate(self, arrays: Sequence[Any]) -> list[Any]:
        """The values of the nodes, by making their calls."""
        values: dict[Any, Any] = {}
        with enable_grad() if any(node.function is _gradients for node in self._order) else no_grad():
            for variable, array in zip(self._variables, arrays, strict=True):
                values[variable] = tensor = constant(array)
                tensor.needs = CONSTANT if array.dtype.kind == "b" else RECORDED
            for node in self._order:
                if node.function is not None:
                    values[node] = self._call(node, values)
        return [values[node] for node in self._nodes]

    def _call(self, node: Node, values: dict[Any, Any]) -> Any:
        def given(a: Any) -> Any:
            return values[a] if isinstance(a, Node) else constant(a._array) if isinstance(a, Tensor) else a

        function: Any = node.function
        args = [_mapped(a, given) for a in node.args]
        kwargs = {key: _mapped(a, given) for key, a in node.kwargs.items()}
        try:
            value = latest(function(*args, **kwargs))
        except _EXPLAINED as error:
            kind = next(k for k in _EXPLAINED if isinstance(error, k))
            raise kind(f"{error}; this is {_expression(node, 300)}, run with {self._feeds_of(node, values)}") from error
        if isinstance(value, Tensor) and any(value is values[a] for a in node.inputs):
            return IDENTITY(value)  # a tensor of its own, by which to differentiate
        return value

    def _feeds_of(self, node: Node, values: dict[Any, Any]) -> str:
        fed = [(a.variable, values[a]) for a in _sort([node]) if a.function is None]
        return ", ".join(f"{name} of shape {t.shape} and dtype {t.dtype}" for name, t in fed) or "nothing fed"

    def _results(self, values: Sequence[Any]) -> list[Any]:
        """Copies of the values as arrays."""
        results = []
        for node, value in zip(self._nodes, values, strict=True):
            array = value._array if isinstance(value, Tensor) else None if isinstance(value, TensorTuple) else value
            if isinstance(array, (tuple, list, dict, type(None))) or np.asarray(array).dtype.kind not in "biufc":
                raise TypeError(
                    f"Executor.run: {_expression(node, 100)} is a {type(value).__name__} and no array; ask for its "
                    "members, node[0], node[1]"
                )
            results.append(np.array(array))
        return results

    def _plan(self, signature: Any, arrays: Sequence[Any]) -> list[Any]:
        """The results for arrays of a new signature; keeps a plan for later runs."""
        recorder = Recorder()
        arrays = [array.view() for array in arrays]  # so that an array fed twice makes two inputs
        inputs = [recorder.add_input(array) for array in arrays]
        random = global_random_states()
        made = Newborn()
        with made, recorder:
            values = self._evaluate(arrays)
        results = self._results(values)
        why = recorder.why or ("it draws random numbers" if recorder.draws or random != global_random_states() else "")
        nodes = [
            recorder.node(value) if isinstance(value, Tensor) else recorder.known_or_constant(result)
            for value, result in zip(values, results, strict=True)
        ]
        state = recorder.state(lambda tensor: tensor not in made)
        why = why or recorder.why
        plan = None if why else Plan([*inputs, *state], nodes, recorder.recorded())
        while len(self._runs) >= PLANS:
            self._runs.pop(next(iter(self._runs)))
        self._runs[signature] = _Run(plan, list(state.values()), why)
        return results


class _Run:
    """How to run one signature: a plan, and the Tensors that functions read from elsewhere; no plan if the results
    depend on more than ops."""

    def __init__(self, plan: Plan | None, state: list[Any], why: str):
        self.plan, self.state, self.why = plan, state, why

    def replay(self, arrays: list[Any]) -> list[Any]:
        plan: Any = self.plan
        results = plan.run(*arrays, *[latest(tensor)._array for tensor in self.state])
        for i, result in enumerate(results):
            if result.base is not None or any(result is a for a in arrays) or not result.flags.writeable:
                results[i] = result.copy()
        return results

    def explain(self) -> str:
        return f"each node anew in each run: {self.why}" if self.plan is None else self.plan.explain()


_EXPLAINED = (np.linalg.LinAlgError, NotYetError, ValueError, TypeError, IndexError, OverflowError, AttributeError)


def _fed(variable: Node, value: Any) -> Any:
    what = f"Executor.run: the value of {variable.variable}"
    if isinstance(value, Node):
        raise TypeError(f"{what} is the node {_expression(value, 100)}; feed an array, a number, a list or a Tensor")
    if isinstance(value, Value):
        return _value_of(value, what)
    return array_of_numbers(what, value, copy=False)


# The names that classical programs use -------------------------------------------------------------------------------


def add_op(node_A: Any, node_B: Any) -> Any:
    """a + b."""
    return node_A + node_B


def add_byconst_op(node_A: Any, const_val: Any) -> Any:
    """a + a number."""
    return node_A + const_val


def sub_op(node_A: Any, node_B: Any) -> Any:
    """a - b."""
    return node_A - node_B


def mul_op(node_A: Any, node_B: Any) -> Any:
    """a * b, element by element."""
    return node_A * node_B


def mul_byconst_op(node_A: Any, const_val: Any) -> Any:
    """a * a number."""
    return node_A * const_val


def div_op(node_A: Any, node_B: Any) -> Any:
    """a / b."""
    return node_A / node_B


def matmul_op(node_A: Any, node_B: Any, trans_A: bool = False, trans_B: bool = False) -> Any:
    """The product of two matrices, each transposed first if asked for."""
    return (node_A.mT if trans_A else node_A) @ (node_B.mT if trans_B else node_B)


def oneslike_op(node_A: Node) -> Node:
    """Ones in the shape and dtype of a node."""
    return Node(np.ones_like, (node_A,))


def zeroslike_op(node_A: Node) -> Node:
    """Zeros in the shape and dtype of a node."""
    return Node(np.zeros_like, (node_A,))


def exp_op(node_A: Node) -> Node:
    """exp(a)."""
    return Node(np.exp, (node_A,))


def log_op(node_A: Node) -> Node:
    """log(a)."""
    return Node(np.log, (node_A,))


_bind_to_node()
_bind_views()
_bind_functions(sys.modules[__package__], ops, numpy_, numpy_.linalg, numpy_.fft)
