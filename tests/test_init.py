"""New tensors and first values of weights: shapes, dtypes, streams of random numbers, distributions."""

import numpy as np
import pytest
from needle import Tensor, init, nn
from numpy.testing import assert_allclose, assert_array_equal


def test_constants():
    assert_array_equal(init.zeros(2, 3).numpy(), np.zeros((2, 3)))
    assert_array_equal(init.ones((2, 3)).numpy(), np.ones((2, 3)))
    assert_array_equal(init.constant(2, c=2.5).numpy(), [2.5, 2.5])
    assert init.constant(2).dtype == np.float32
    assert init.zeros().shape == ()
    assert not init.ones(2).requires_grad
    assert init.ones(2, requires_grad=True).requires_grad
    like = Tensor(np.zeros((2, 0)), dtype="float16")
    for made, number in [(init.zeros_like(like), 0), (init.ones_like(like), 1)]:
        assert made.shape == (2, 0)
        assert made.dtype == np.float16
        assert_array_equal(made.numpy(), np.full((2, 0), number))
    assert init.ones_like(np.zeros(2, int), requires_grad=True).requires_grad


def test_one_hot():
    assert_array_equal(init.one_hot(3, np.array([[2], [0]])).numpy(), [[[0, 0, 1]], [[1, 0, 0]]])
    made = init.one_hot(2, Tensor([1, 0], requires_grad=False), dtype="int8", requires_grad=False)
    assert made.dtype == np.int8
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        init.one_hot(2, np.array([2]))
    with pytest.raises(TypeError, match="labels must be integers"):
        init.one_hot(2, np.array([0.5]))


def test_random_numbers_are_those_of_numpys_global_state():
    for make, expected in [
        (lambda: init.rand(3, 2), lambda: np.random.rand(3, 2)),
        (lambda: init.rand(3, low=-1, high=2), lambda: np.random.rand(3) * 3 - 1),
        (lambda: init.randn(4), lambda: np.random.randn(4)),
        (lambda: init.randn(4, mean=2.0, std=3.0), lambda: np.random.randn(4) * 3 + 2),
        (lambda: init.randb(2, 3, p=0.3), lambda: np.random.rand(2, 3) <= 0.3),
        (lambda: init.kaiming_uniform(3, 2), lambda: (np.random.rand(3, 2) * 2 - 1) * np.sqrt(2.0)),
        (lambda: init.xavier_normal(3, 5), lambda: np.random.randn(3, 5) * 0.5),
    ]:
        np.random.seed(7)
        found = make()
        np.random.seed(7)
        assert_allclose(found.numpy(), expected(), rtol=1e-6)
        assert not found.requires_grad
    assert init.randb(2).dtype == np.bool_
    assert init.rand(2).dtype == np.float32


def test_or_of_a_generator():
    state = np.random.get_state()[1].copy()
    for rng in (np.random.default_rng(3), 3, np.int64(3)):
        assert_allclose(init.randn(4, rng=rng).numpy(), np.random.default_rng(3).standard_normal(4), rtol=1e-6)
    old = np.random.RandomState(3)
    assert_allclose(init.rand(4, rng=old).numpy(), np.random.RandomState(3).rand(4), rtol=1e-6)
    assert (np.random.get_state()[1] == state).all()
    shared = np.random.default_rng(0)
    first, second = init.rand(3, rng=shared), init.rand(3, rng=shared)
    assert (first.numpy() != second.numpy()).all()
    for wrong in ("0", True, 1.5):
        with pytest.raises(TypeError, match="rng must be None, a seed or a generator"):
            init.rand(2, rng=wrong)


UNIFORM = {
    "xavier_uniform": np.sqrt(6 / 500),
    "kaiming_uniform": np.sqrt(6 / 200),
    "lecun_uniform": np.sqrt(3 / 200),
    "pytorch_default": 1 / np.sqrt(200),
}
NORMAL = {"xavier_normal": np.sqrt(2 / 500), "kaiming_normal": np.sqrt(2 / 200), "lecun_normal": np.sqrt(1 / 200)}


@pytest.mark.parametrize("name", UNIFORM)
@pytest.mark.parametrize("in_place", [False, True])
def test_bounds_of_uniform_ones(name, in_place):
    options = {"nonlinearity": "relu"} if name == "kaiming_uniform" else {}
    if in_place:
        p = nn.Parameter(np.zeros((200, 300)), dtype="float64")
        made = getattr(init, f"{name}_")(p, rng=0, **options)
        assert made is p
        assert isinstance(p, nn.Parameter)
    else:
        made = getattr(init, name)(200, 300, rng=0, dtype="float64", **options)
    array, bound = made.numpy(), UNIFORM[name]
    assert array.shape == (200, 300)
    assert made.dtype == np.float64
    assert abs(array).max() <= bound
    assert_allclose(abs(array).max(), bound, rtol=1e-3)
    assert_allclose(array.std(), bound / np.sqrt(3), rtol=1e-2)
    assert abs(array.mean()) < bound / 100


@pytest.mark.parametrize("name", NORMAL)
@pytest.mark.parametrize("in_place", [False, True])
def test_deviations_of_normal_ones(name, in_place):
    options = {"nonlinearity": "relu"} if name == "kaiming_normal" else {}
    if in_place:
        made = getattr(init, f"{name}_")(Tensor(np.zeros((200, 300))), rng=0, **options)
    else:
        made = getattr(init, name)(200, 300, rng=0, dtype="float64", **options)
    assert_allclose(made.numpy().std(), NORMAL[name], rtol=1e-2)
    assert abs(made.numpy().mean()) < NORMAL[name] / 50


def test_fans_of_convolutions_and_other_shapes():
    assert init.fans((5, 7)) == (5, 7)
    assert init.fans((3, 3, 4, 8)) == (36, 72)
    p = Tensor(np.zeros((3, 3, 4, 8)))
    init.kaiming_uniform_(p, nonlinearity="relu", rng=0)
    assert_allclose(abs(p.numpy()).max(), np.sqrt(6 / 36), rtol=1e-2)
    init.kaiming_uniform_(p, mode="fan_out", nonlinearity="linear", rng=0)
    assert_allclose(abs(p.numpy()).max(), np.sqrt(3 / 72), rtol=1e-2)
    made = init.kaiming_uniform(36, 72, shape=(3, 3, 4, 8))
    assert made.shape == (3, 3, 4, 8)
    assert init.xavier_uniform(0, 0).shape == (0, 0)
    with pytest.raises(ValueError, match=r"need a weight of shape \(in, out\)"):
        init.xavier_uniform_(Tensor(np.zeros(3)))
    with pytest.raises(ValueError, match='mode must be "fan_in" or "fan_out"'):
        init.kaiming_normal_(p, mode="fan")
    init.pytorch_default_(b := Tensor(np.zeros(1000)), fan_in=4, rng=0)
    assert_allclose(abs(b.numpy()).max(), 0.5, rtol=1e-2)


def test_gains():
    assert init.calculate_gain("relu") == np.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu", 1.0) == 1
    assert init.calculate_gain("leaky_relu") == np.sqrt(2 / (1 + 1e-4))
    with pytest.raises(ValueError, match="nonlinearity must be one of relu, tanh"):
        init.calculate_gain("rleu")


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 4), (0, 3)])
def test_orthogonal_rows_or_columns(shape):
    matrix = init.orthogonal(*shape, gain=2.0, dtype="float64", rng=0).numpy()
    assert matrix.shape == shape
    flat = matrix.reshape((-1, shape[-1])) if matrix.size else matrix
    small = flat if len(flat) <= shape[-1] else flat.T
    assert_allclose(small @ small.T, 4 * np.eye(len(small)), atol=1e-12)
    in_place = init.orthogonal_(Tensor(np.zeros(shape)), gain=2.0, rng=0)
    assert_array_equal(in_place.numpy(), matrix)


def test_orthogonal_matrices_are_uniform():
    signs = [init.orthogonal(2, 2, dtype="float64", rng=seed).numpy()[0, 0] > 0 for seed in range(400)]
    assert 0.4 < np.mean(signs) < 0.6
    with pytest.raises(ValueError, match=r"need a weight of shape"):
        init.orthogonal(3)


def test_normal_numbers_within_bounds():
    array = init.trunc_normal(100, 100, mean=0.5, std=2.0, low=-1.0, high=2.0, dtype="float64", rng=0).numpy()
    assert array.min() >= -1
    assert array.max() <= 2
    from_scipy = pytest.importorskip("scipy.stats").truncnorm(-0.75, 0.75, 0.5, 2.0)
    assert_allclose([array.mean(), array.std()], [from_scipy.mean(), from_scipy.std()], rtol=2e-2)
    p = init.trunc_normal_(Tensor(np.zeros((50, 50))), std=0.02, a=-0.03, b=0.03, rng=0)
    assert 0.02 < abs(p.numpy()).max() <= 0.03
    assert init.trunc_normal(rng=0).shape == ()
    for bounds in [{"low": 50.0, "high": 60.0}, {"low": 2.0, "high": -2.0}, {"std": float("nan")}]:
        with pytest.raises(ValueError, match="holds next to nothing"):
            init.trunc_normal(2, **bounds)


def test_identity():
    assert_array_equal(init.identity(2, 3).numpy(), np.eye(2, 3))
    assert_array_equal(init.identity_(Tensor(np.zeros((3, 3)))).numpy(), np.eye(3))
    with pytest.raises(ValueError, match=r"needs a matrix, got shape \(3, 3, 2, 2\); dirac_ is for"):
        init.identity_(Tensor(np.zeros((3, 3, 2, 2))))


@pytest.mark.parametrize(("channels", "out", "groups"), [(3, 3, 1), (3, 5, 1), (5, 3, 1), (2, 4, 2)])
def test_dirac_hands_on_its_input(channels, out, groups):
    weight = init.dirac(3, 3, channels, out, groups=groups, dtype="float64").numpy()
    image = np.random.default_rng(0).standard_normal((6, 6, channels * groups))
    each = out // groups
    found = np.zeros((4, 4, out))
    for o in range(out):
        part = image[..., channels * (o // each) : channels * (o // each + 1)]
        for i in range(4):
            for j in range(4):
                found[i, j, o] = (part[i : i + 3, j : j + 3] * weight[..., o]).sum()
    kept = min(channels, each)
    for group in range(groups):
        expected = image[1:-1, 1:-1, channels * group : channels * group + kept]
        assert_array_equal(found[..., each * group : each * group + kept], expected)
        assert not found[..., each * group + kept : each * (group + 1)].any()
    assert_array_equal(init.dirac_(Tensor(np.zeros(weight.shape)), groups).numpy(), weight)


def test_dirac_refuses_other_shapes():
    for shape, groups in [((2, 2), 1), ((3, 2, 3), 2)]:
        with pytest.raises(ValueError, match=r"init\.dirac: needs a shape \(\*kernel, in / groups, out\)"):
            init.dirac(*shape, groups=groups)


def test_simple_ones_in_place_keep_object_and_dtype():
    p = nn.Parameter(np.ones((2, 3)), dtype="float16")
    for change, check in [
        (init.zeros_, lambda a: (a == 0).all()),
        (init.ones_, lambda a: (a == 1).all()),
        (lambda t: init.constant_(t, 0.5), lambda a: (a == 0.5).all()),
        (lambda t: init.uniform_(t, 2, 3, rng=0), lambda a: ((a >= 2) & (a <= 3)).all()),
        (lambda t: init.normal_(t, 5.0, 0.1, rng=0), lambda a: (abs(a - 5) < 1).all()),
    ]:
        assert change(p) is p
        assert p.dtype == np.float16
        assert check(p.numpy())


def test_pytorchs_way_to_draw_a_model_again():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    model.apply(lambda m: isinstance(m, nn.Linear) and (init.orthogonal_(m.weight, rng=0), init.zeros_(m.bias)))
    assert_allclose(model[0].weight.numpy() @ model[0].weight.numpy().T, np.eye(3), atol=1e-6)
    assert not model[2].bias.numpy().any()
