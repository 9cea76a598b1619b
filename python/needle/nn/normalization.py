"""Normalization: batch, layer, root-mean-square, group and instance, each one op; see ops/normalization.py."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import init, ops
from ..autograd import no_grad
from ..backend import Device
from .inputs import as_input
from .module import Module
from .parameter import Buffer, Parameter


class _Affine(Module):
    """A layer that may scale and shift what it has normalized: weights of 1 and biases of 0 at first."""

    weight: Any
    bias: Any

    def _make(self, shape: tuple[int, ...], weight: bool, bias: bool, **options: Any) -> None:
        self.weight = Parameter(init.ones(*shape, **options)) if weight else None
        self.bias = Parameter(init.zeros(*shape, **options)) if bias else None

    def reset_parameters(self, rng: init.Rng = None) -> None:
        """Nothing is drawn: 1 for each weight, 0 for each bias."""
        for p, number in ((self.weight, 1.0), (self.bias, 0.0)):
            if p is not None:
                p.data = init.constant(*p.shape, c=number, dtype=p.dtype)

    def _input(self, x: Any) -> Any:
        return as_input(x, x if self.weight is None else self.weight, self)


class _BatchNorm(_Affine):
    """Subclasses say how many axes an input has."""

    axes: tuple[int, ...]
    layout: str

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        affine: bool = True,
        unbiased_running_var: bool = False,
    ):
        if not 0 <= momentum <= 1:
            raise ValueError(f"{type(self).__name__}: momentum is the weight of the new value, 0 to 1, got {momentum}")
        self.dim, self.eps, self.momentum, self.unbiased_running_var = dim, eps, momentum, unbiased_running_var
        self._make((dim,), affine, affine, device=device, dtype=dtype)
        self.running_mean = Buffer(init.zeros(dim, device=device, dtype=dtype))
        self.running_var = Buffer(init.ones(dim, device=device, dtype=dtype))

    def reset_parameters(self, rng: init.Rng = None) -> None:
        """Nothing is drawn: weights and running variances become 1, biases and running means 0."""
        super().reset_parameters(rng)
        self.running_mean.data = init.zeros(self.dim, dtype=self.running_mean.dtype)
        self.running_var.data = init.ones(self.dim, dtype=self.running_var.dtype)

    def forward(self, x: Any) -> Any:
        x = as_input(x, self.running_mean, self)
        if x.ndim not in self.axes or x.shape[1] != self.dim:
            raise ValueError(
                f"{type(self).__name__}: needs an input of shape {self.layout.format(self.dim)}, got {x.shape}"
            )
        if not self.training:
            return self._by_running_statistics(x)
        count = prod(x.shape) // self.dim if self.dim else 0
        if count < 2:
            raise ValueError(
                f"{type(self).__name__}: an input of shape {x.shape} has {count} value(s) a channel, whose variance "
                "says nothing; train on more at a time (DataLoader's drop_last=True leaves out a short last batch), or "
                "call model.eval() to use the running statistics"
            )
        y, mean, variance = ops.batch_norm(x, self.weight, self.bias, self.eps)
        with no_grad():
            new = variance * (count / (count - 1)) if self.unbiased_running_var else variance
            for running, value in ((self.running_mean, mean), (self.running_var, new)):
                running.data = (1 - self.momentum) * running + self.momentum * value.detach()
        return y

    def _by_running_statistics(self, x: Any) -> Any:
        beside = (self.dim, *[1] * (x.ndim - 2))
        scale = 1 / ops.sqrt(self.running_var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        y = (x - self.running_mean.reshape(beside)) * scale.reshape(beside)
        return y if self.bias is None else y + self.bias.reshape(beside)

    def extra_repr(self) -> str:
        affine = "" if self.weight is not None else ", affine=False"
        return f"{self.dim}, eps={self.eps}, momentum={self.momentum}{affine}"

    def torch_extra(self) -> dict[str, Any]:
        return {"num_batches_tracked": 0}


class BatchNorm1d(_BatchNorm):
    """Each channel less its mean over the batch, over its standard deviation; then times weight, plus bias.

    For inputs (N, dim) or (N, dim, L). In training, with the batch's mean and biased variance, which also move the
    buffers `running_mean` and `running_var`: `(1 - momentum) * old + momentum * new`. After `eval()`, with these.
    PyTorch moves `running_var` by the unbiased variance, as `unbiased_running_var=True` does.
    """

    axes, layout = (2, 3), "(N, {0}) or (N, {0}, L)"


class BatchNorm2d(_BatchNorm):
    """As BatchNorm1d, for images (N, dim, H, W), whose channels may also be the fastest axis in memory."""

    axes, layout = (4,), "(N, {0}, H, W)"


class BatchNorm3d(_BatchNorm):
    """As BatchNorm1d, for volumes (N, dim, D, H, W)."""

    axes, layout = (5,), "(N, {0}, D, H, W)"


class _OverLastAxes(_Affine):
    """A layer that normalizes over the last axes, whose lengths are `shape`."""

    def __init__(self, shape: Any, eps: Any, weight: bool, bias: bool, **options: Any):
        self.shape: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps = eps
        self._make(self.shape, weight, bias, **options)

    def _checked(self, x: Any) -> Any:
        x = self._input(x)
        if x.shape[x.ndim - len(self.shape) :] != self.shape or x.ndim < len(self.shape):
            raise ValueError(f"{type(self).__name__}: the last axes of the input must be {self.shape}, got {x.shape}")
        return x

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.shape), 0))

    def extra_repr(self) -> str:
        shape = self.shape[0] if len(self.shape) == 1 else self.shape
        return f"{shape}, eps={self.eps}{'' if self.weight is not None else ', affine=False'}"


class LayerNorm(_OverLastAxes):
    """The last axes, of lengths `shape`, less their mean, over sqrt(variance + eps); then times weight, plus bias.

    `weight` and `bias` have that shape; `affine=False` leaves both out, `bias=False` one.
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        eps: float = 1e-5,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        affine: bool = True,
        bias: bool = True,
    ):
        super().__init__(shape, eps, affine, affine and bias, device=device, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return ops.layer_norm(self._checked(x), self.weight, self.bias, self.eps, self._axes)


class LayerNorm1d(LayerNorm):
    """LayerNorm over the last axis, of length `dim`."""

    def __init__(self, dim: int, eps: float = 1e-5, device: Device | None = None, dtype: Any = "float32"):
        super().__init__(dim, eps, device, dtype)


class RMSNorm(_OverLastAxes):
    """The last axes, of lengths `shape`, over sqrt(mean of squares + eps); then times weight.

    `eps=None` is the distance from 1 to the next number of the dtype, as in PyTorch.
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        eps: float | None = None,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        affine: bool = True,
    ):
        super().__init__(shape, eps, affine, False, device=device, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return ops.rms_norm(self._checked(x), self.weight, self.eps, self._axes)


class GroupNorm(_Affine):
    """The channels (axis 1) in groups, each normalized together with all axes after; then scaled and shifted by
    channel. For inputs (N, dim, ...)."""

    def __init__(
        self,
        groups: int,
        dim: int,
        eps: float = 1e-5,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        affine: bool = True,
    ):
        if groups < 1 or dim % groups:
            raise ValueError(f"{type(self).__name__}: dim={dim} must be a multiple of groups={groups}")
        self.groups, self.dim, self.eps = groups, dim, eps
        self._make((dim,), affine, affine, device=device, dtype=dtype)

    def forward(self, x: Any) -> Any:
        x = self._input(x)
        if x.ndim < 2 or x.shape[1] != self.dim:
            raise ValueError(f"{type(self).__name__}: needs an input of shape (N, {self.dim}, ...), got {x.shape}")
        return ops.group_norm(x, self.groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.groups}, {self.dim}, eps={self.eps}{'' if self.weight is not None else ', affine=False'}"


class _InstanceNorm(_Affine):
    """Subclasses say how many axes an input has."""

    ndim: int
    layout: str

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        affine: bool = False,
    ):
        self.dim, self.eps = dim, eps
        self._make((dim,), affine, affine, device=device, dtype=dtype)

    def forward(self, x: Any) -> Any:
        x = self._input(x)
        if x.ndim != self.ndim or x.shape[1] != self.dim:
            raise ValueError(
                f"{type(self).__name__}: needs an input of shape {self.layout.format(self.dim)}, got {x.shape}"
            )
        if prod(x.shape[2:]) < 2:
            raise ValueError(
                f"{type(self).__name__}: an input of shape {x.shape} has {prod(x.shape[2:])} value(s) a channel and "
                "example, whose variance says nothing; GroupNorm or LayerNorm normalize over channels"
            )
        return ops.group_norm(x, self.dim, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}{', affine=True' if self.weight is not None else ''}"


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each example normalized along its length: inputs (N, dim, L). `affine=True` adds a weight and a
    bias by channel."""

    ndim, layout = 3, "(N, {0}, L)"


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image normalized over its pixels: inputs (N, dim, H, W). `affine=True` adds a weight and a
    bias by channel."""

    ndim, layout = 4, "(N, {0}, H, W)"
