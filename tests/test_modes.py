"""no_grad and its like hold where the code of their block runs, also where a generator or a coroutine is suspended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, autograd, blocks
from numpy.testing import assert_allclose

T = Tensor([1.0, 2.0])


def recorded() -> bool:
    """Whether operations are, in each of the ways in which the engine asks."""
    found = {(T * T).requires_grad, (T * 2.0).requires_grad, needle.exp(T).requires_grad, np.tanh(T).requires_grad}
    found |= {
        needle.is_grad_enabled(),
        autograd.recording_mode() is True,
        autograd.is_recorded(T),
        T.sum().op is not None,
    }
    (only,) = found
    return only


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Any:
    yield
    gc.collect()
    assert recorded()
    assert not blocks._open


def by_with(body: Callable[[], Generator[Any, Any, Any]]) -> Callable[[], Generator[Any, Any, Any]]:
    def generator() -> Generator[Any, Any, Any]:
        with needle.no_grad():
            return (yield from body())

    return generator


def by_exit_stack(body: Callable[[], Generator[Any, Any, Any]]) -> Callable[[], Generator[Any, Any, Any]]:
    def generator() -> Generator[Any, Any, Any]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(needle.no_grad())
            return (yield from body())

    return generator


@contextlib.contextmanager
def evaluating() -> Any:
    with needle.no_grad():
        yield


def by_context_manager(body: Callable[[], Generator[Any, Any, Any]]) -> Callable[[], Generator[Any, Any, Any]]:
    def generator() -> Generator[Any, Any, Any]:
        with evaluating():
            return (yield from body())

    return generator


WAYS: dict[str, Any] = {
    "decorated": needle.no_grad(),
    "with": by_with,
    "ExitStack": by_exit_stack,
    "contextmanager": by_context_manager,
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
def test_a_generator_is_in_its_mode_and_nobody_else(way):
    @way
    def generator() -> Generator[Any, Any, Any]:
        assert not recorded()
        got = yield recorded()
        try:
            yield got, recorded()
        except KeyError:
            yield "caught", recorded()
        with needle.enable_grad():
            yield "within", recorded()
        return "returned", recorded()

    g = generator()
    assert recorded()
    assert next(g) is False
    assert recorded()
    assert g.send("sent") == ("sent", False)
    assert recorded()
    assert g.throw(KeyError()) == ("caught", False)
    assert recorded()
    assert next(g) == ("within", True)
    with needle.no_grad():
        assert not recorded()
    assert recorded()
    with pytest.raises(StopIteration) as end:
        next(g)
    assert end.value.value == ("returned", False)


@every_way
def test_what_runs_it_may_be_in_any_mode(way):
    """The mode of the caller is neither seen inside nor changed, whenever blocks begin and end."""

    @way
    def generator() -> Generator[Any, Any, Any]:
        for _ in range(4):
            yield recorded()

    g = generator()
    with needle.no_grad():
        assert next(g) is False
        assert not recorded()
    assert recorded()
    assert next(g) is False
    with needle.enable_grad():
        assert next(g) is False
        assert recorded()
        with needle.no_grad():
            h = generator()
            assert next(h) is False
        assert recorded()
        assert list(g) == [False]
        assert recorded()
        assert next(h) is False
    assert recorded()
    assert list(zip(generator(), generator(), strict=True)) == [(False, False)] * 4
    assert recorded()
    assert list(h) == [False] * 2


@every_way
def test_within_transforms_and_around_them(way):
    @way
    def generator(x: Any = T) -> Generator[Any, Any, Any]:
        for _ in range(9):
            assert not needle.is_grad_enabled()
            assert not (x * T).requires_grad
            yield x * x

    if way is WAYS["decorated"]:
        assert_allclose(needle.grad(lambda x: sum((y * x).sum() for y in generator(x)))(np.ones(2)), [9.0, 9.0])
        assert_allclose(needle.jvp(lambda x: next(generator(x)) * x, (2.0,), (1.0,)), (8.0, 4.0))
    g = generator()
    next(g)
    assert_allclose(needle.grad(lambda x: (next(g) * x * x).sum())(np.ones(2)), [2.0, 8.0])
    assert_allclose(needle.hessian(lambda x: (next(g) * x**2).sum())(np.ones(2)), np.diag([2.0, 8.0]))
    assert_allclose(needle.jvp(lambda x: (next(g) * x * x).sum(), (np.ones(2),), (np.ones(2),))[1], 10.0)
    x = Tensor([3.0, 4.0])
    loss = (next(g) * x).sum()
    loss.backward()
    assert_allclose(x.grad.numpy(), [1.0, 4.0])
    (x.grad * x).sum().backward()
    assert recorded()
    started = []
    needle.grad(lambda x: (started.append(generator()), next(started[0]), x.sum())[-1])(np.ones(2))
    assert recorded()
    next(started[0])
    assert recorded()
    started.clear()


@pytest.mark.parametrize("is_decorated", [True, False])
def test_a_generator_that_is_not_used_up(is_decorated):
    def decorated() -> Generator[Any, Any, Any]:
        try:
            yield 1
        finally:
            ended.append(recorded())

    def block() -> Generator[Any, Any, Any]:
        with needle.no_grad():
            try:
                yield 1
            finally:
                ended.append(recorded())

    generator = needle.no_grad()(decorated) if is_decorated else block
    ended: list[bool] = []
    g = generator()
    next(g)
    g.close()
    g = generator()
    next(g)
    del g
    gc.collect()
    g = generator()
    next(g)
    with pytest.raises(ZeroDivisionError):
        g.throw(ZeroDivisionError)
    assert ended == [False] * 3
    never_started = generator()
    del never_started
    assert recorded()


@every_way
def test_code_of_the_caller_within_a_generator(way):
    """Delegation, recursion, and functions that are called from a block with modes of their own."""

    @needle.enable_grad()
    def inner() -> bool:
        return recorded()

    def tree(depth: int) -> Generator[Any, Any, Any]:
        yield recorded()
        if depth:
            yield from generator(depth - 1)
        with needle.enable_grad():
            yield not recorded()
        yield recorded()

    def generator(depth: int) -> Generator[Any, Any, Any]:
        return way(lambda: tree(depth))() if way is not WAYS["decorated"] else needle.no_grad()(tree)(depth)

    seen = []
    for flag in generator(3):
        seen.append(flag)
        assert recorded()
        assert inner()
        with needle.no_grad():
            assert inner()
            assert not recorded()
    assert seen == [False] * 12


def test_one_object_for_several_generators():
    mode = needle.no_grad()

    def generator() -> Generator[Any, Any, Any]:
        with mode:
            yield recorded()
        yield recorded()
        with mode, mode:
            yield recorded()
        yield recorded()

    first, second = generator(), generator()
    for _ in range(4):
        outcomes = {next(first), next(second)}
        assert len(outcomes) == 1
        with mode:
            assert not recorded()
        assert recorded()


def test_what_contextlib_and_fixtures_run_is_a_block_of_their_users(request):
    with evaluating():
        assert not recorded()
        with needle.enable_grad():
            assert recorded()
    assert recorded()
    stack = contextlib.ExitStack()
    stack.enter_context(evaluating())
    assert not recorded()
    stack.close()
    assert recorded()

    class Holder:
        @evaluating()
        def method(self) -> bool:
            return recorded()

    assert not Holder().method()
    request.getfixturevalue("without_gradients")
    assert not needle.is_grad_enabled()


@pytest.fixture
def without_gradients(nothing_is_left_open: None) -> Any:
    with needle.no_grad():
        yield


def test_the_decorator_keeps_kind_name_and_result():
    @needle.no_grad()
    def plain(a: int, b: int = 2) -> Any:
        """Doc."""
        return a + b, recorded()

    @needle.no_grad()
    def generator() -> Generator[int]:
        yield 1

    @needle.no_grad()
    async def coroutine() -> int:
        return 1

    @needle.no_grad()
    async def items() -> Any:
        yield 1

    assert plain(1) == (3, False)
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Doc."
    assert list(inspect.signature(plain).parameters) == ["a", "b"]
    assert inspect.isgeneratorfunction(generator)
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isasyncgenfunction(items)


# ---------------------------------------------------------------------------------------------------- coroutines


def steps(coroutine: Any) -> Any:
    """Run one to its next suspension."""
    try:
        return coroutine.send(None)
    except StopIteration as end:
        return end


class Pause:
    def __await__(self) -> Any:
        yield "paused"


def test_a_decorated_coroutine_leaves_the_mode_where_it_waits():
    @needle.no_grad()
    async def work() -> Any:
        before = recorded()
        await Pause()
        return before, recorded()

    one, two = work(), work()
    for coroutine in (one, two):
        assert steps(coroutine) == "paused"
        assert recorded()
    assert steps(one).value == (False, False)
    assert recorded()
    with needle.enable_grad():
        assert steps(two).value == (False, False)
    never = work()
    assert steps(never) == "paused"
    never.close()
    assert recorded()


def test_a_block_in_a_decorated_coroutine_goes_on_after_it_waits():
    @needle.no_grad()
    async def work() -> list[bool]:
        seen = [recorded()]
        with needle.enable_grad():
            await Pause()
            seen.append(recorded())
            await Pause()
            seen.append(recorded())
        await Pause()
        return [*seen, recorded()]

    coroutine = work()
    for _ in range(3):
        assert steps(coroutine) == "paused"
        assert recorded()
    assert steps(coroutine).value == [False, True, True, False]


def test_one_object_for_several_tasks_and_threads():
    mode = needle.no_grad()

    async def work(waits: int) -> list[bool]:
        seen = []
        with mode:
            for _ in range(waits):
                await asyncio.sleep(0)
                seen.append(recorded())
        return [*seen, not recorded()]

    async def main() -> list[list[bool]]:
        return await asyncio.gather(*map(work, (4, 1, 3, 2)))

    assert asyncio.run(main()) == [[False] * (n + 1) for n in (4, 1, 3, 2)]
    entered, left = threading.Event(), threading.Event()

    def other() -> None:
        with mode:
            entered.set()
            left.wait(5)
            seen.append(recorded())
        seen.append(recorded())

    seen: list[bool] = []
    thread = threading.Thread(target=other)
    with mode:
        thread.start()
        entered.wait(5)
        assert not recorded()
    assert recorded()
    left.set()
    thread.join()
    assert seen == [False, True]
    with pytest.raises(RuntimeError, match="no_grad: this block was not entered"):
        mode.__exit__()


def test_an_async_generator_whose_items_are_over():
    """Python's athrow() returns if they are: the error is raised all the same."""

    @needle.no_grad()
    async def items() -> Any:
        yield 1
        yield 2

    async def main() -> None:
        g = items()
        assert await anext(g) == 1
        await g.ag_frame.f_locals["items"].aclose()
        with pytest.raises(KeyError):
            await g.athrow(KeyError())
        g = items()
        await anext(g)
        await g.ag_frame.f_locals["items"].aclose()
        await g.aclose()

    asyncio.run(main())


def test_tasks_do_not_see_each_other():
    @needle.no_grad()
    async def work() -> list[bool]:
        seen = []
        for _ in range(3):
            seen.append(recorded())
            await asyncio.sleep(0)
        return seen

    async def block() -> list[bool]:
        with needle.no_grad():
            return await other()

    async def other() -> list[bool]:
        seen = []
        for _ in range(3):
            seen.append(recorded())
            await asyncio.sleep(0)
        return seen

    async def main() -> list[Any]:
        found = await asyncio.gather(work(), other(), block(), work(), other())
        assert recorded()
        return found

    assert asyncio.run(main()) == [[False] * 3, [True] * 3, [False] * 3, [False] * 3, [True] * 3]


@pytest.mark.parametrize("way", ["decorated", "with"])
def test_an_async_generator(way):
    async def body() -> Any:
        try:
            got = yield recorded()
            await asyncio.sleep(0)
            try:
                yield got, recorded()
            except KeyError:
                yield "caught", recorded()
        finally:
            await asyncio.sleep(0)
            ended.append(recorded())

    async def with_block() -> Any:
        with needle.no_grad():
            try:
                got = yield recorded()
                await asyncio.sleep(0)
                try:
                    yield got, recorded()
                except KeyError:
                    yield "caught", recorded()
            finally:
                await asyncio.sleep(0)
                ended.append(recorded())

    items = needle.no_grad()(body) if way == "decorated" else with_block
    ended: list[bool] = []

    async def other() -> None:
        for _ in range(20):
            assert recorded()
            await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(other())
        g = items()
        assert await anext(g) is False
        assert recorded()
        assert await g.asend("sent") == ("sent", False)
        assert recorded()
        assert await g.athrow(KeyError()) == ("caught", False)
        await g.aclose()
        assert recorded()
        async for flag in items():
            assert recorded()
            if flag is False:
                break
        g = items()
        await anext(g)
        with pytest.raises(ZeroDivisionError):
            await g.athrow(ZeroDivisionError)
        assert [flag async for flag in items()] == [False, (None, False)]
        await task

    asyncio.run(main())
    assert ended == [False] * 4


def test_an_asynccontextmanager():
    @contextlib.asynccontextmanager
    async def waiting() -> Any:
        with needle.no_grad():
            await asyncio.sleep(0)
            yield

    async def main() -> None:
        async with waiting():
            await asyncio.sleep(0)
            assert not recorded()
        assert recorded()

    asyncio.run(main())


def test_compiled_functions_in_generators_and_around_them():
    weight = Tensor([3.0, 4.0])

    @needle.compile
    def step(x: Any) -> Any:
        with needle.no_grad():
            scale = x * x
        return weight * scale * x

    def generator() -> Generator[Any, Any, Any]:
        with needle.no_grad():
            while True:
                yield step(T).requires_grad

    g = generator()
    for _ in range(4):
        assert not next(g)
        assert step(T).requires_grad
        step(T).sum().backward()
        assert_allclose(weight.grad.numpy(), T.numpy() ** 3)


# ------------------------------------------------------------------------------------------------------- watchers


def test_a_watcher_of_a_generator_watches_that_alone():
    def generator() -> Generator[Any, Any, Any]:
        with needle.detect_anomaly():
            yield 1
            yield needle.sqrt(Tensor([4.0])).item()
            needle.log(Tensor([-1.0]))

    def outside() -> None:
        with np.errstate(all="ignore"):
            assert np.isnan(needle.log(Tensor([-1.0])).numpy()).all()
        with pytest.raises(RuntimeWarning):
            needle.log(Tensor([-1.0]))  # warnings are errors here, and are not silenced

    first, second = generator(), generator()
    assert [next(first), next(second)] == [1, 1]
    outside()
    assert next(first) == 2.0
    outside()
    first.close()
    outside()
    assert next(second) == 2.0
    with pytest.raises(needle.seeing.anomaly.AnomalyError), np.errstate(all="ignore"):
        next(second)
    outside()
    assert not needle.watching.active


def test_watchers_that_end_in_another_order():
    def traced(found: list[Any]) -> Generator[Any, Any, Any]:
        with needle.detect_anomaly() as seen:
            found.append(seen)
            yield
            yield

    found: list[Any] = []
    first, second = traced(found), traced(found)
    next(first), next(second)
    first.close()
    assert needle.watching.here() == ()
    next(second)
    with needle.detect_anomaly() as outer:
        second.close()
        assert needle.watching.here() == (outer,)
    assert needle.watching.here() == ()
    assert needle.watching.active == 0


# -------------------------------------------------------------------------------------------------- threads, leaks


def test_threads_have_their_own_modes():
    def generator() -> Generator[Any, Any, Any]:
        with needle.no_grad():
            while True:
                yield recorded()

    g = generator()
    assert next(g) is False
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(recorded()))
    thread.start()
    thread.join()
    assert seen == [True]
    assert next(g) is False
    other = threading.Thread(target=g.close)  # which leaves a block that was entered here
    other.start()
    other.join()
    assert recorded()


def test_a_generator_keeps_no_tensor():
    @needle.no_grad()
    def decorated(x: Any) -> Generator[Any, Any, Any]:
        try:
            yield x * 1
        except KeyError:
            yield x * 2

    def block(x: Any) -> Generator[Any, Any, Any]:
        with needle.no_grad():
            yield from decorated(x)

    gc.collect()
    gc.disable()
    try:
        for make in (decorated, block):
            before = autograd.TENSOR_COUNTER
            for _ in range(3):
                g = make(Tensor([1.0]))
                next(g)
                g.throw(KeyError())
                g.close()
                del g
                g = make(Tensor([1.0]))
                next(g)
                with contextlib.suppress(ZeroDivisionError):
                    g.throw(ZeroDivisionError())
                del g
            added = autograd.TENSOR_COUNTER - before
            assert added <= 0
    finally:
        gc.enable()


def test_nobody_compares_what_only_answers_yes_or_no():
    """`is_recording()` may be an object that looks at the stack when it is asked."""
    for path in Path(needle.__file__).parent.rglob("*.py"):
        assert "is_recording() is" not in path.read_text(), path
        assert "[is_recording()]" not in path.read_text(), path
