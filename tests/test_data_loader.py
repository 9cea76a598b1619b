"""Datasets, samplers, collation and the loader, in one thread; its workers have a file of their own."""

from __future__ import annotations

import copy
import json
import pickle
from collections import namedtuple
from dataclasses import dataclass

import needle
import numpy as np
import pytest
from data_samples import GloballyNoisy, Items, Noisy, as_list
from needle import Tensor
from needle.data import (
    ArrayDataset,
    Batch,
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    MappedDataset,
    NDArrayDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    collate,
    random_split,
)
from numpy.testing import assert_array_equal

X = np.random.default_rng(0).random((23, 4))
Y = np.arange(23)


def labels(loader):
    return [batch[1].numpy().tolist() for batch in loader]


def flat(lists):
    return [i for one in lists for i in one]


def rows(loader):
    return np.concatenate([batch[0].numpy() for batch in loader])


# ------------------------------------------------------------------------------------------------------------ batches


def test_batches_are_constant_float32_tensors_and_integers_stay():
    batches = list(DataLoader(ArrayDataset(X, Y, Y > 3, X > 0.5, X * 1j), 5))
    assert [len(b[0]) for b in batches] == [5, 5, 5, 5, 3]
    x, y, *others = batches[1]
    assert [t.dtype for t in (x, y, *others)] == ["float32", "int64", "bool", "bool", "complex128"]
    assert all(isinstance(t, Tensor) and not t.requires_grad for t in batches[1])
    assert_array_equal(x.numpy(), X[5:10].astype(np.float32))
    assert_array_equal(y.numpy(), Y[5:10])


@pytest.mark.parametrize("dtype", [None, "float64", "float16", np.float32])
def test_dtype(dtype):
    x, y = next(iter(DataLoader(ArrayDataset(X.astype(np.float32), Y.astype(np.uint8)), 3, dtype=dtype)))
    assert x.dtype == (dtype or "float32") and y.dtype == np.uint8
    items = next(iter(DataLoader([(np.float32(1), 2)] * 3, 3, dtype=dtype)))
    assert items[0].dtype == (dtype or "float32") and items[1].dtype == "int64"


def test_a_batch_compares_by_identity_and_is_a_tuple():
    shuffled, ordered = (DataLoader(ArrayDataset(X, Y), 10, shuffle=s) for s in (True, False))
    for i, j in zip(shuffled, ordered, strict=True):
        assert i != j and not i == j and i == i  # noqa: PLR0124, SIM201
        assert len({i, j}) == 2 and isinstance(i, tuple) and isinstance(i, Batch)
        x, y = i
        assert x is i[0] and y is i[-1]
    assert pickle.loads(pickle.dumps(i))[1].numpy().tolist() == i[1].numpy().tolist()


def test_writing_into_a_batch_does_not_reach_the_dataset():
    held = X.astype(np.float32)
    for dataset in (ArrayDataset(held, Y), Subset(ArrayDataset(held), np.arange(3)), list(held), held):
        for workers in (0, 1):
            batch = next(iter(DataLoader(dataset, 1, workers=workers)))
            (batch if isinstance(batch, Tensor) else batch[0]).cached_data[:] = 99
    for first in (lambda items: items[0], lambda items: {"x": items[0]}):
        batch = next(iter(DataLoader(list(held), 1, collate=first)))
        (batch if isinstance(batch, Tensor) else batch["x"]).cached_data[:] = 99
    assert_array_equal(held, X.astype(np.float32))


def test_a_loader_is_iterated_again_and_again_and_has_a_length():
    loader = DataLoader(ArrayDataset(X, Y), 5)
    assert len(loader) == 5 and labels(loader) == labels(loader)
    short = DataLoader(ArrayDataset(X, Y), 5, drop_last=True)
    assert len(short) == 4 == len(labels(short))
    assert len(DataLoader(X[:0], 5)) == 0 == len(list(DataLoader(X[:0], 5, shuffle=True)))


DATASETS = {
    "ndarray": X,
    "ArrayDataset": ArrayDataset(X),
    "Subset": Subset(ArrayDataset(np.concatenate([X, X])), 23 + np.arange(23)),
    "Concat": ConcatDataset([ArrayDataset(X[:7]), ArrayDataset(X[7:7]), ArrayDataset(X[7:])]),
    "Concat of items": ConcatDataset([list(X[:7]), X[7:]]),
    "list": list(X),
    "Tensor": Tensor(X),
    "list of Tensors": [Tensor(x) for x in X],
    "Mapped": MappedDataset(list(2 * X), lambda x: x / 2),
    "Subset of a list": Subset(list(X), range(23)),
    "iterable": (x for x in X),
}


@pytest.mark.parametrize("name", DATASETS)
def test_all_kinds_of_datasets_give_the_same(name):
    dataset = DATASETS[name]
    got = [b if isinstance(b, Tensor) else b[0] for b in DataLoader(dataset, 4, dtype=None)]
    assert_array_equal(np.concatenate([b.numpy().reshape(-1, 4) for b in got]), X)
    if name != "iterable":
        shuffled = [b if isinstance(b, Tensor) else b[0] for b in DataLoader(dataset, 4, True, rng=1, dtype=None)]
        order = np.concatenate([b.numpy() for b in DataLoader(np.arange(23), 4, True, rng=1)])
        assert_array_equal(np.concatenate([b.numpy().reshape(-1, 4) for b in shuffled]), X[order])


def test_a_batch_is_one_indexing_where_the_dataset_can_do_it():
    asked = []

    class Counting(ArrayDataset):
        indexes_arrays = True

        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    class Lists:
        def __len__(self):
            return 23

        def __getitem__(self, i):
            raise AssertionError("not one by one")

        def __getitems__(self, indices):
            assert type(indices) is list and all(type(i) is int for i in indices)
            return [{"x": X[i]} for i in indices]

    list(DataLoader(Counting(X, Y), 10))
    assert [len(a) for a in asked] == [10, 10, 3]
    assert_array_equal(np.concatenate([b["x"].numpy() for b in DataLoader(Lists(), 10, dtype=None)]), X)


def test_what_a_class_says_of_indexing_does_not_hold_for_the_indexing_of_its_subclass():
    class Shifted(ArrayDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + int(i), y  # right for an integer only

    assert_array_equal(rows(DataLoader(Shifted(X, Y), 4, dtype=None)), X + Y[:, np.newaxis])


# ------------------------------------------------------------------------------------------------------------ collate

Point = namedtuple("Point", "x y")


@dataclass
class Record:
    x: object
    name: str


def test_nested_items_collate():
    items = [{"image": X[i], "meta": [i, (f"n{i}", None)], "point": Point(i / 2, True)} for i in range(5)]
    batch = next(iter(DataLoader(items, 5)))
    assert batch["image"].shape == (5, 4) and batch["image"].dtype == "float32"
    assert batch["meta"][0].numpy().tolist() == [0, 1, 2, 3, 4]
    assert batch["meta"][1][0] == [f"n{i}" for i in range(5)] and batch["meta"][1][1] == [None] * 5
    assert type(batch["point"]) is Point and batch["point"].x.dtype == "float32" and batch["point"].y.dtype == "bool"
    record = next(iter(DataLoader([Record(X[i], "a") for i in range(3)], 3)))
    assert type(record) is Record and record.x.shape == (3, 4) and record.name == ["a"] * 3
    assert next(iter(DataLoader(["a", "b"], 2))) == ["a", "b"]
    assert next(iter(DataLoader([np.datetime64("2020-01-01")] * 2, 2))).dtype == "datetime64[D]"
    named = next(iter(DataLoader(ArrayDataset(image=X, label=Y), 3)))
    assert list(named) == ["image", "label"] and named["label"].numpy().tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [0, 3, 200])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float64", "bool", "complex64"])
def test_collated_arrays_are_new_and_keep_shape_and_dtype(size, dtype):
    items = [np.full((2, size), i, dtype) for i in range(3)]
    batch = collate(items)
    assert batch.shape == (3, 2, size) and batch.dtype == dtype
    assert_array_equal(batch, np.stack(items))
    assert not any(np.shares_memory(batch, item) for item in items)


WRONG = {
    "shapes": (
        [(np.zeros(3), 1), (np.zeros(3), 1), (np.zeros(4), 1)],
        r"shapes at item\[0\] .*\(3,\).*\(4,\) in item 2",
    ),
    "keys": ([{"a": 1}, {"b": 1}], r"the keys differ: \['a'\] in the batch's item 0, \['b'\] in item 1"),
    "lengths": ([{"ids": [1, 2]}, {"ids": [1]}], r"lengths at item\['ids'\] differ: 2 .* 1 in item 1; pad"),
    "kinds": ([1, None], "the kinds differ: int in the batch's item 0, NoneType in item 1"),
    "array and number": ([np.zeros(2), 1.0], r"the shapes differ: \(2,\)"),
    "tuple and number": ([(1, 2), 3], "the lengths differ: 2 in the batch's item 0, int in item 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_items_that_do_not_fit_together(name):
    items, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        next(iter(DataLoader(items, len(items))))


def test_a_mask_is_not_lost():
    with pytest.raises(TypeError, match="a masked array's mask would be lost"):
        next(iter(DataLoader([np.ma.masked_array([1.0, 2.0], [0, 1])] * 2, 2)))


def test_a_collate_of_ones_own():
    assert [type(b[0]) for b in DataLoader(Items(4), 2, collate=as_list)] == [Tensor, Tensor]
    assert [(b[0].numpy().tolist(), b[1]) for b in DataLoader(Items(4), 2, collate=as_list)] == [
        ([0, 1], "word"),
        ([2, 3], "word"),
    ]
    padded = DataLoader(
        [np.ones(n) for n in (1, 3)], 2, collate=lambda items: np.stack([np.pad(a, (0, 3 - len(a))) for a in items])
    )
    assert next(iter(padded)).numpy().tolist() == [[1, 0, 0], [1, 1, 1]]
    assert next(iter(padded)).dtype == "float32"


# ------------------------------------------------------------------------------------------------- order and randomness


def test_without_a_seed_an_epoch_draws_one_permutation_and_no_more():
    loader = DataLoader(ArrayDataset(X, Y), 5, shuffle=True)
    np.random.seed(3)
    order = [np.random.permutation(23).tolist() for _ in range(2)]
    after = np.random.rand()
    np.random.seed(3)
    assert [flat(labels(loader)) for _ in range(2)] == order
    assert np.random.rand() == after
    np.random.seed(3)
    labels(DataLoader(ArrayDataset(X, Y), 5))
    assert np.random.permutation(23).tolist() == order[0], "without shuffling nothing is drawn"


def test_a_seed_fixes_the_order_and_leaves_the_global_state_alone():
    np.random.seed(0)
    first, second, other = (DataLoader(Y, 5, shuffle=True, rng=seed) for seed in (7, 7, 8))
    epochs = [[b.numpy().tolist() for b in first] for _ in range(3)]
    assert [[b.numpy().tolist() for b in second] for _ in range(3)] == epochs
    assert len({str(e) for e in epochs}) == 3 and [b.numpy().tolist() for b in other] != epochs[0]
    assert sorted(flat(epochs[0])) == list(range(23))
    assert np.random.rand() == np.random.RandomState(0).rand()
    a, b = (DataLoader(Y, 23, shuffle=True, rng=np.random.default_rng(5)) for _ in range(2))
    assert next(iter(a)).numpy().tolist() == next(iter(b)).numpy().tolist()


def test_an_items_random_numbers_depend_on_seed_epoch_and_index_only():
    def by_index(loader):
        return dict(
            sorted((int(i), x.tolist()) for b in loader for x, i in zip(b[0].numpy(), b[1].numpy(), strict=True))
        )

    shuffled, ordered = DataLoader(Noisy(), 4, True, rng=1, dtype=None), DataLoader(Noisy(), 7, rng=1, dtype=None)
    first = by_index(shuffled)
    assert first == by_index(ordered)
    assert by_index(shuffled) != first and by_index(DataLoader(Noisy(), 4, rng=2, dtype=None)) != first
    assert all(len(set(row)) == 4 for row in first.values()), "an item's generator goes on through the item"
    assert len({tuple(row) for row in first.values()}) == 20


def test_an_item_outside_of_a_seeded_loader_draws_from_the_global_state():
    np.random.seed(1)
    a = Noisy()[0][0]
    np.random.seed(1)
    assert_array_equal(Noisy()[0][0], a)
    assert not np.array_equal(Noisy()[0][0], a)


def test_a_loader_within_an_item_of_a_loader():
    class Outer(Noisy):
        def __getitem__(self, i):
            before = super().__getitem__(i)[0]
            inner = next(iter(DataLoader(Noisy(), 2, rng=99, dtype=None)))[0].numpy()
            return np.concatenate([before, super().__getitem__(i)[0], inner[0]]), i

    loader = DataLoader(Outer(), 5, rng=1, dtype=None)
    epoch = rows(loader)
    plain = rows(DataLoader(Noisy(), 5, rng=1, dtype=None))
    assert_array_equal(epoch[:, :4], plain)
    assert len(set(epoch[:, 4])) == 20 and len(set(epoch[:, 8])) == 1


def test_transforms_with_a_parameter_rng_are_handed_one():
    class Augmented(ArrayDataset):
        indexes_arrays = False

        def __getitem__(self, i):
            return (self.apply_transforms(super().__getitem__(i)[0]),)

    dataset = Augmented(X)
    dataset.transforms = [lambda x, rng: x + rng.random(), lambda x, rng=None: x + (0 if rng is None else rng.random())]
    a, b = (rows(DataLoader(dataset, 4, rng=5, dtype=None)) for _ in range(2))
    assert_array_equal(a, b)
    assert len(set((a - X)[:, 0])) == 23 and np.all(a >= X)
    np.random.seed(0)
    unseeded = rows(DataLoader(dataset, 4, dtype=None))
    assert len(set((unseeded - X)[:, 0])) == 23 and np.all(unseeded - X < 1), "a default is left to the transform"


SAMPLERS = {
    "SequentialSampler": SequentialSampler(Y),
    "RandomSampler": RandomSampler(Y),
    "RandomSampler, some": RandomSampler(Y, num_samples=9),
    "RandomSampler, replacement": RandomSampler(Y, replacement=True, num_samples=50),
    "SubsetRandomSampler": SubsetRandomSampler([3, 5, 8]),
    "WeightedRandomSampler": WeightedRandomSampler(Y % 2, 40),
    "WeightedRandomSampler, once": WeightedRandomSampler(Y % 2, 11, replacement=False),
    "DistributedSampler": DistributedSampler(Y, 4, 1),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_draw_from_a_generator_or_the_global_state(name):
    sampler = SAMPLERS[name]
    assert isinstance(sampler, Sampler)
    for draw in (lambda: sampler.indices(np.random.default_rng(2)).tolist(), lambda: list(sampler)):
        np.random.seed(1)
        first = draw()
        np.random.seed(1)
        assert draw() == first and len(first) == len(sampler) and set(first) <= set(range(23))
    batches = [b.numpy().tolist() for b in DataLoader(Y, 4, sampler=sampler, rng=3)]
    assert batches == [b.numpy().tolist() for b in DataLoader(Y, 4, sampler=sampler, rng=3)]
    assert len(flat(batches)) == len(sampler)


def test_what_samplers_choose():
    assert sorted(RandomSampler(Y)) == list(range(23)) and len(set(RandomSampler(Y, num_samples=9))) == 9
    assert sorted(SubsetRandomSampler([3, 5, 8])) == [3, 5, 8] and list(SubsetRandomSampler([])) == []
    assert {i % 2 for i in SAMPLERS["WeightedRandomSampler"]} == {1}
    assert sorted(SAMPLERS["WeightedRandomSampler, once"]) == list(range(1, 23, 2))
    drawn = WeightedRandomSampler([1, 3], 20000).indices(np.random.default_rng(0))
    assert abs(drawn.mean() - 0.75) < 0.02


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("parts", [1, 3, 4, 30])
def test_distributed_samplers_share_an_epoch(parts, drop_last):
    shares = [DistributedSampler(Y, parts, rank, drop_last=drop_last) for rank in range(parts)]
    drawn = [s.indices(np.random.default_rng(4)).tolist() for s in shares]
    assert {len(d) for d in drawn} == {len(shares[0])}
    seen = flat(drawn)
    if drop_last:
        assert len(set(seen)) == len(seen) == 23 // parts * parts
    else:
        assert set(seen) == set(range(23)) and len(seen) == -(-23 // parts) * parts
    assert DistributedSampler(Y, 2, 1, shuffle=False).indices().tolist() == [*range(1, 23, 2), 0]


def test_samplers_of_other_kinds():
    assert [b.numpy().tolist() for b in DataLoader(Y, 2, sampler=[5, 3, 1])] == [[5, 3], [1]]
    assert [b.numpy().tolist() for b in DataLoader(Y, 2, sampler=iter([5, 3, 1]), drop_last=True)] == [[5, 3]]
    assert [b.numpy().tolist() for b in DataLoader(Y, batch_sampler=[[1], [2, 3, 4]])] == [[1], [2, 3, 4]]
    assert list(BatchSampler([5, 3, 1], 2)) == [[5, 3], [1]] and len(BatchSampler([5, 3, 1], 2, True)) == 1
    assert len(DataLoader(Y, batch_sampler=[[1], [2, 3, 4]])) == 2
    assert list(DataLoader(Y, 2, sampler=[])) == []
    loader = DataLoader(Y, batch_sampler=BatchSampler(RandomSampler(Y), 6), rng=1)
    assert [b.numpy().tolist() for b in loader] != [b.numpy().tolist() for b in loader]


# ------------------------------------------------------------------------------------------------------------ resuming


def train(loader, n):
    """n batches, over as many epochs as they take, and the state after each, with random draws in between."""
    batches, states = [], [(copy.deepcopy(loader.state_dict()), np.random.get_state())]
    while len(batches) < n:
        for batch in loader:
            batches.append(batch[0].numpy().tolist())
            np.random.rand()
            states.append((copy.deepcopy(loader.state_dict()), np.random.get_state()))
    return batches, states


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("rng", [None, 5])
@pytest.mark.parametrize("kind", ["shuffle", "random sampler", "batch sampler", "in order"])
@pytest.mark.parametrize("n", [0, 2, 5, 7, 10])
def test_resuming_in_the_middle_of_an_epoch(kind, rng, workers, n):
    dataset = ArrayDataset(X, Y)
    options = {
        "shuffle": {"shuffle": True},
        "random sampler": {"sampler": RandomSampler(dataset, replacement=True, num_samples=23)},
        "batch sampler": {"batch_size": 1, "batch_sampler": BatchSampler(RandomSampler(dataset), 5)},
        "in order": {},
    }[kind]

    def make():
        return DataLoader(dataset, **{"batch_size": 5, "rng": rng, "workers": workers, **options})

    np.random.seed(2)
    batches, states = train(make(), 15)
    resumed = make()
    np.random.seed(12345)
    resumed.load_state_dict(states[n][0])
    np.random.set_state(states[n][1])
    assert train(resumed, 15 - n)[0] == batches[n:]


def test_the_state_is_small_and_says_where_the_loader_stands():
    loader = DataLoader(ArrayDataset(X, Y), 5, shuffle=True, rng=9)
    assert loader.state_dict() == {"epoch": 0, "batches": 0, "batch_size": 5, "items": 23, "seed": 9}
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()
    for k, _ in enumerate(loader):
        assert (loader.state_dict()["epoch"], loader.state_dict()["batches"]) == (0, k + 1)
    assert loader.state_dict() == {"epoch": 1, "batches": 0, "batch_size": 5, "items": 23, "seed": 9}
    for _ in loader:
        break
    assert loader.state_dict()["batches"] == 1 and loader.epoch == 1
    next(iter(loader))
    assert loader.epoch == 2, "an epoch that was broken off is not gone on with"
    unseeded = DataLoader(ArrayDataset(X, Y), 5, shuffle=True)
    assert "numpy" not in unseeded.state_dict()
    next(iter(unseeded))
    assert unseeded.state_dict()["numpy"]["bit_generator"] == "MT19937"


def test_two_iterations_at_a_time():
    loader = DataLoader(Y, 5, shuffle=True, rng=9)
    pairs = list(zip(loader, loader, strict=True))
    assert [a.numpy().tolist() for a, _ in pairs] != [b.numpy().tolist() for _, b in pairs]
    assert loader.epoch == 2
    one = iter(loader)
    next(one)
    list(loader)
    assert loader.epoch == 4
    list(one)
    assert loader.epoch == 4 and loader.state_dict()["batches"] == 0, "an old iteration changes nothing"


def test_a_state_of_another_loader_is_refused_and_changes_nothing():
    loader = DataLoader(ArrayDataset(X, Y), 5, shuffle=True, rng=9)
    state = loader.state_dict()
    with pytest.raises(ValueError, match="middle of an epoch with batch_size=4, but this loader has 5"):
        loader.load_state_dict({**state, "batches": 2, "batch_size": 4})
    with pytest.raises(ValueError, match="middle of an epoch with items=22, but this loader has 23"):
        loader.load_state_dict({**state, "batches": 2, "items": 22})
    with pytest.raises(ValueError, match=r"a loader with no seed; make this one with rng=None"):
        loader.load_state_dict({name: value for name, value in state.items() if name != "seed"})
    with pytest.raises(ValueError, match=r"a loader with a seed; make this one with rng=9"):
        DataLoader(ArrayDataset(X, Y), 5).load_state_dict(state)
    assert loader.state_dict() == state
    loader.load_state_dict({**state, "batch_size": 4, "epoch": 3})  # between epochs, all may change
    assert loader.epoch == 3


def test_an_iterable_is_resumed_by_reading_over_what_was_taken():
    make = lambda: DataLoader(IterableOnly(), 4, dtype=None)  # noqa: E731
    loader = make()
    for k, _ in enumerate(loader):
        if k == 2:
            break
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert_array_equal(np.concatenate([b.numpy() for b in resumed]), X[12:])


class IterableOnly:
    def __iter__(self):
        return iter(X)


def test_iterables():
    loader = DataLoader(IterableOnly(), 4, drop_last=True, dtype=None)
    assert_array_equal(np.concatenate([b.numpy() for b in loader]), X[:20])
    assert [len(b) for b in DataLoader(IterableOnly(), 4, workers=3)] == [4, 4, 4, 4, 4, 3]
    with pytest.raises(TypeError, match="has no len"):
        len(loader)
    for options in ({"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}, {"workers": 1, "processes": True}):
        with pytest.raises(TypeError, match=r"IterableOnly has no len\(\) and \[\].*list\(dataset\) can be shuffled"):
            DataLoader(IterableOnly(), **options)


# -------------------------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer, 1 or more, got 0"),
        ({"batch_size": 2.0}, ValueError, "batch_size: expected an integer, 1 or more, got 2.0"),
        ({"shuffle": True, "sampler": [1]}, ValueError, "shuffle and a sampler both set the order"),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler makes the batches; leave batch_size"),
        ({"batch_sampler": [[1]], "drop_last": True}, ValueError, "batch_sampler makes the batches"),
        ({"workers": -1}, ValueError, "workers of 0 or more"),
        (
            {"workers": 2, "prefetch": 0},
            ValueError,
            "prefetch of 1 or more, got workers=2, .* prefetch=0",
        ),
        ({"processes": True}, ValueError, "1 or more with processes"),
        ({"rng": "seed"}, TypeError, "rng: expected a seed of 0 or more, a Generator or None, got 'seed'"),
        ({"rng": -1}, TypeError, "rng: expected a seed of 0 or more"),
        ({"device": needle.cuda()}, ValueError, r"device needle.cuda\(\) is not on this machine"),
    ],
)
def test_arguments_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(ArrayDataset(X, Y), **options)


def test_datasets_that_are_none():
    with pytest.raises(TypeError, match=r"expected something with len.* got int"):
        DataLoader(5)
    with pytest.raises(TypeError, match=r"a dict has keys, not rows; write ArrayDataset\(\*\*arrays\)"):
        DataLoader({"x": X, "y": Y})
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"a pandas object indexes columns, not rows; write ArrayDataset\(df.to_numpy"):
        DataLoader(pandas.DataFrame({"a": [1, 2]}))


def test_errors_name_the_item_and_the_datasets_line():
    class Broken(Items):
        def __getitem__(self, i):
            return super().__getitem__(i + 10**6)

    with pytest.raises(IndexError) as caught:
        list(DataLoader(Broken(), 4))
    note = caught.value.__notes__[0]
    assert note.startswith("DataLoader: this was raised for item 0 of a Broken, at ") and __file__ in note
    with pytest.raises(IndexError) as caught:
        list(DataLoader(ArrayDataset(X), 4, sampler=[0, 99]))
    assert "for items [0, 99] of a ArrayDataset" in caught.value.__notes__[0]

    class Stops(Items):
        def __getitem__(self, i):
            return next(iter(()))

    with pytest.raises(RuntimeError, match="item 0 of a Stops"):
        list(DataLoader(Stops(), 4))


# ------------------------------------------------------------------------------------------------------------- datasets


def test_array_datasets():
    dataset = ArrayDataset(X, Y.tolist(), Tensor(X))
    assert len(dataset) == 23 and NDArrayDataset is ArrayDataset
    assert_array_equal(dataset[3][0], X[3])
    assert dataset[-1][1] == 22 and [a.shape for a in dataset[2:5]] == [(3, 4), (3,), (3, 4)]
    assert_array_equal(dataset[[1, 5]][0], X[[1, 5]])
    assert_array_equal(dataset[Y > 20][0], X[21:])
    with pytest.raises(IndexError):
        dataset[23]
    assert sum(1 for _ in dataset) == 23
    for arrays in ((X, Y[1:]), ()):
        with pytest.raises(ValueError, match=r"ArrayDataset: expected arrays"):
            ArrayDataset(*arrays)
    with pytest.raises(ValueError, match="first axis"):
        ArrayDataset(np.array(3.0))
    with pytest.raises(ValueError, match="either all with names"):
        ArrayDataset(X, y=Y)


def test_memory_maps_are_read_batch_by_batch(tmp_path):
    np.save(tmp_path / "x.npy", X)
    dataset = ArrayDataset(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert isinstance(dataset.arrays[0].base, np.memmap), "not read into memory"
    mapped, held = (rows(DataLoader(d, 4, True, dtype=None, rng=1)) for d in (dataset, ArrayDataset(X)))
    assert_array_equal(mapped, held)


def test_the_base_class_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="Dataset must define __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="Dataset must define __len__"):
        len(Dataset())

    class Old(Dataset):  # without super().__init__()
        def __init__(self):
            pass

        def __getitem__(self, i):
            return self.apply_transforms(i)

        def __len__(self):
            return 3

    assert next(iter(DataLoader(Old(), 3))).numpy().tolist() == [0, 1, 2]


def test_subsets():
    subset = Subset(ArrayDataset(X, Y), [5, 3, 3])
    assert len(subset) == 3 and subset[0][1] == 5 and subset[-1][1] == 3
    assert subset[1:][1].tolist() == [3, 3] and subset[np.array([2, 0])][1].tolist() == [3, 5]
    assert len(Subset(X, [])) == 0
    with pytest.raises(ValueError, match=r"expected integers, got bool .* np.flatnonzero\(mask\)"):
        Subset(X, X[:, 0] > 0.5)
    with pytest.raises(IndexError):
        subset[3]


def test_concatenations():
    both = ArrayDataset(X[:3], Y[:3]) + ArrayDataset(X[3:], Y[3:])
    assert isinstance(both, ConcatDataset) and len(both) == 23
    assert [both[i][1] for i in (0, 2, 3, 22, -1, -23)] == [0, 2, 3, 22, 22, 0]
    assert both[np.array([22, 0, 3, 2, 22])][1].tolist() == [22, 0, 3, 2, 22]
    assert both[1:5][1].tolist() == [1, 2, 3, 4] and len(both[:0][1]) == 0
    for i in (23, -24):
        with pytest.raises(IndexError, match=f"index {i} is out of range for 23 items"):
            both[i]
    named = ConcatDataset([ArrayDataset(a=Y[:3]), ArrayDataset(a=Y[3:])])
    assert named[np.array([4, 1])]["a"].tolist() == [4, 1]
    with pytest.raises(ValueError, match="expected one dataset or more"):
        ConcatDataset([])


def test_random_splits():
    np.random.seed(0)
    order = np.random.permutation(23)
    np.random.seed(0)
    a, b = random_split(Y, [20, 3])
    assert a.indices.tolist() + b.indices.tolist() == order.tolist()
    parts = random_split(Y, [0.5, 0.3, 0.2], rng=1)
    assert [len(p) for p in parts] == [12, 7, 4] and sorted(flat([p.indices.tolist() for p in parts])) == list(Y)
    assert [p.indices.tolist() for p in random_split(Y, [0.5, 0.3, 0.2], rng=1)] == [p.indices.tolist() for p in parts]
    assert [len(p) for p in random_split(Y[:1], [1])] == [1]
    assert [len(p) for p in random_split(Y, [1.0])] == [23]
    for wrong in ([20, 2], [0.5, 0.3], [24, -1], []):
        with pytest.raises(ValueError, match="random_split: lengths: expected numbers that add up to 23"):
            random_split(Y, wrong)


def test_only_the_training_part_of_a_split_is_augmented():
    train, test = random_split(ArrayDataset(X, Y), [20, 3], rng=0)
    augmented = MappedDataset(train, lambda item, rng: (item[0] + rng.random(), item[1]))
    a, b = (rows(DataLoader(augmented, 5, rng=1, dtype=None)) for _ in range(2))
    assert_array_equal(a, b)
    assert np.all(a - X[train.indices] > 0) and len(test) == 3


def test_global_draws_come_in_the_order_of_the_items():
    np.random.seed(4)
    expected = np.concatenate([np.random.random(3) for _ in range(20)])
    np.random.seed(4)
    assert_array_equal(rows(DataLoader(GloballyNoisy(), 6, dtype=None)).ravel(), expected)


def test_training_on_a_loader_leaves_no_tensors(uncollected):
    loader = DataLoader(ArrayDataset(X, Y), 5, shuffle=True)
    list(loader)
    before = needle.autograd.TENSOR_COUNTER
    for x, y in loader:
        (x * y.reshape((-1, 1))).sum()
    del x, y
    assert before == needle.autograd.TENSOR_COUNTER
