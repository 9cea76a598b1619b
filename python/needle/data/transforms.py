"""Transforms of an image, float (height, width, channels), or of a label. Each is a function with its settings.

The random ones draw from the Generator that they are handed as `rng`, and without one from NumPy's global state, in the
course's order. `batched` marks those that take a stack of items (n, ...) as they take one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import check_labels
from .streams import transformed

Rng = np.random.Generator | None


class Transform:
    """The base of transforms; any function of one item is one, too."""

    batched = False

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(x), or __call__(x, rng)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Compose(Transform):
    """Several transforms, one after the other."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]):
        self.transforms = list(transforms)

    @property
    def batched(self) -> bool:  # type: ignore[override]
        return all(getattr(transform, "batched", False) for transform in self.transforms)

    def __call__(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transformed(transform, x)
        return x


class RandomFlipHorizontal(Transform):
    """The image mirrored left to right, with probability p. Draws one number."""

    def __init__(self, p: float = 0.5):
        self.p = _probability("RandomFlipHorizontal", p)

    def __call__(self, img: Any, rng: Rng = None) -> Any:
        return img[:, ::-1] if _uniform(rng) < self.p else img


class RandomCrop(Transform):
    """The image with `padding` zeros around it, cut back to its size at a random place. Draws two integers."""

    def __init__(self, padding: int = 3):
        if padding < 0:
            raise ValueError(f"RandomCrop: padding: expected 0 or more, got {padding}")
        self.padding = padding

    def __call__(self, img: Any, rng: Rng = None) -> Any:
        draw = np.random.randint if rng is None else rng.integers
        down, right = draw(-self.padding, self.padding + 1, size=2).tolist()
        shifted = np.zeros_like(img)
        rows, columns = img.shape[:2]
        to, source = zip(*[_overlap(rows, down), _overlap(columns, right)], strict=True)
        shifted[to] = img[source]
        return shifted


def _overlap(n: int, shift: int) -> tuple[slice, slice]:
    """Where an axis of n pixels lies in the crop that starts so much later, and in the image."""
    return slice(max(0, -shift), max(0, n - max(0, shift))), slice(max(0, shift), max(0, n + min(0, shift)))


class RandomAffine(Transform):
    """The image turned, moved, scaled and sheared by random amounts about its middle, with linear interpolation.

    degrees and shear: up to so many degrees either way; translate: up to this share of the height and of the width;
    scale: between these two factors. What comes from outside of the image is `fill`. Draws five numbers.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: float = 0.0,
    ):
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"RandomAffine: scale: expected two factors, 0 < low <= high, got {scale}")
        self.degrees, self.translate, self.scale, self.shear, self.fill = degrees, translate, scale, shear, fill

    def __call__(self, img: Any, rng: Rng = None) -> Any:
        turn, down, right, grow, lean = (2 * _uniform(rng, 5) - 1).tolist()
        low, high = self.scale
        size = low + (high - low) * (grow + 1) / 2
        angle, slant = np.radians(self.degrees * turn), np.tan(np.radians(self.shear * lean))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = self.translate * np.array([down * img.shape[0], right * img.shape[1]])
        return warped(img, size * rotation @ np.array([[1.0, 0.0], [slant, 1.0]]), moved, self.fill)


class RandomRotation(RandomAffine):
    """The image turned about its middle, by up to so many degrees either way."""

    def __init__(self, degrees: float, fill: float = 0.0):
        super().__init__(degrees, fill=fill)


def warped(img: Any, matrix: Any, moved: Any, fill: float = 0.0) -> Any:
    """The image (height, width, channels) under x -> matrix @ x + moved, in (row, column) about its middle.

    Every pixel of the result is interpolated linearly between the four around the place that it comes from.
    """
    height, width = img.shape[:2]
    middle = np.array([[(height - 1) / 2], [(width - 1) / 2]])
    places = np.indices((height, width)).reshape(2, -1)
    sources = np.linalg.inv(matrix) @ (places - middle - np.reshape(moved, (2, 1))) + middle
    sources = np.round(sources, 9)  # a turn by 90 degrees hits pixels, not 1e-16 beside them
    corner = np.floor(sources)
    after = (sources - corner).astype(img.dtype if img.dtype.kind == "f" else np.float64)
    padded = np.full((height + 2, width + 2, *img.shape[2:]), fill, img.dtype)
    padded[1:-1, 1:-1] = img
    (up, down), (left, right) = [
        [np.minimum(np.maximum(index + i, 0), length + 1) for i in (1, 2)]
        for index, length in zip(corner.astype(np.intp), (height, width), strict=True)
    ]
    result: Any = 0
    for by_row, row in zip((1 - after[0], after[0]), (up, down), strict=True):
        for by_column, column in zip((1 - after[1], after[1]), (left, right), strict=True):
            result = result + (by_row * by_column).reshape(-1, *[1] * (img.ndim - 2)) * padded[row, column]
    result = result.reshape(img.shape)
    return (np.rint(result) if img.dtype.kind in "iu" else result).astype(img.dtype, copy=False)


class Cutout(Transform):
    """A square of `size` pixels, its middle anywhere in the image, replaced by `fill`. Draws two integers.

    DeVries, Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """

    def __init__(self, size: int, fill: float = 0.0):
        self.size, self.fill = size, fill

    def __call__(self, img: Any, rng: Rng = None) -> Any:
        draw = np.random.randint if rng is None else rng.integers
        row, column = draw((0, 0), img.shape[:2]).tolist()
        up, left = row - self.size // 2, column - self.size // 2
        img = img.copy()
        img[max(0, up) : max(0, up + self.size), max(0, left) : max(0, left + self.size)] = self.fill
        return img


class Normalize(Transform):
    """(x - mean) / std, each a number or one number for each channel, which come last. Keeps x's dtype."""

    batched = True

    def __init__(self, mean: Any, std: Any):
        self.mean, self.std = np.asarray(mean), np.asarray(std)
        if not (self.std > 0).all():
            raise ValueError(f"Normalize: std: expected numbers above 0, got {std}")

    def __call__(self, x: Any) -> Any:
        if x.dtype.kind != "f":
            raise TypeError(f"Normalize: expected floats, got {x.dtype}; let ToFloat() come before it")
        return (x - self.mean.astype(x.dtype)) / self.std.astype(x.dtype)


class ToFloat(Transform):
    """Unsigned bytes as float32 in 0..1, where 255 becomes 1; other integers by their largest, floats as float32."""

    batched = True

    def __call__(self, x: Any) -> Any:
        x = np.asarray(x)
        if x.dtype.kind in "iu":
            return np.divide(x, np.float32(np.iinfo(x.dtype).max), dtype=np.float32)
        return x.astype(np.float32)


class OneHot(Transform):
    """Labels of shape s, integers in 0..classes-1, as float32 of shape s + (classes,): 1 at the label, 0 elsewhere."""

    batched = True

    def __init__(self, classes: int):
        self.classes = classes

    def __call__(self, y: Any) -> Any:
        labels = y.numpy() if isinstance(y, Tensor) else np.asarray(y)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"OneHot: labels must be integers, got {labels.dtype}; write labels.astype(int)")
        check_labels("OneHot", self.classes, labels)
        return (labels[..., np.newaxis] == np.arange(self.classes)).astype(np.float32)


def _uniform(rng: Rng, *size: int) -> Any:
    return np.random.rand(*size) if rng is None else rng.random(size or None)


def _probability(what: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{what}: p: expected a probability in 0..1, got {p}")
    return p
