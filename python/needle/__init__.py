"""Needle: a define-by-run tensor framework in plain Python on NumPy."""

import builtins as _builtins
import os as _os
import typing as _typing
from importlib import import_module as _import_module
from typing import Any as _Any

from . import autograd as autograd
from . import backend as backend
from . import numpy as numpy
from . import ops as ops
from .autograd import Op as Op
from .autograd import Tensor as Tensor
from .autograd import TensorOp as TensorOp
from .autograd import TensorTuple as TensorTuple
from .autograd import TensorTupleOp as TensorTupleOp
from .autograd import Value as Value
from .autograd import enable_grad as enable_grad
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .backend import Device as Device
from .backend import all_devices as all_devices
from .backend import cpu as cpu
from .backend import cuda as cuda
from .backend import default_device as default_device
from .checkpoint import checkpoint as checkpoint
from .compile import Compiled as Compiled
from .compile import CompileWarning as CompileWarning
from .compile import compile as compile
from .custom import custom_gradient as custom_gradient
from .custom import custom_jvp as custom_jvp
from .custom import numerical as numerical
from .hips import deriv as deriv
from .hips import grad_and_aux as grad_and_aux
from .hips import hessian_tensor_product as hessian_tensor_product
from .hips import hessian_vector_product as hessian_vector_product
from .hips import make_ggnvp as make_ggnvp
from .hips import make_hvp as make_hvp
from .hips import make_jvp as make_jvp
from .hips import make_vjp as make_vjp
from .hips import tensor_jacobian_product as tensor_jacobian_product
from .hips import vector_jacobian_product as vector_jacobian_product
from .numpy import pad as pad
from .ops import absolute as absolute
from .ops import adaptive_avg_pool as adaptive_avg_pool
from .ops import add as add
from .ops import add_scalar as add_scalar
from .ops import arctan2 as arctan2
from .ops import astype as astype
from .ops import attention as attention
from .ops import avg_pool as avg_pool
from .ops import batch_norm as batch_norm
from .ops import broadcast_to as broadcast_to
from .ops import clip as clip
from .ops import concatenate as concatenate
from .ops import conj as conj
from .ops import conv as conv
from .ops import conv_transpose as conv_transpose
from .ops import convolve as convolve
from .ops import cos as cos
from .ops import cumprod as cumprod
from .ops import cumsum as cumsum
from .ops import dilate as dilate
from .ops import divide as divide
from .ops import divide_scalar as divide_scalar
from .ops import dropout as dropout
from .ops import einsum as einsum
from .ops import equal as equal
from .ops import exp as exp
from .ops import flip as flip
from .ops import floor_divide as floor_divide
from .ops import gelu as gelu
from .ops import getitem as getitem
from .ops import greater as greater
from .ops import greater_equal as greater_equal
from .ops import group_norm as group_norm
from .ops import gru as gru
from .ops import hypot as hypot
from .ops import imag as imag
from .ops import layer_norm as layer_norm
from .ops import less as less
from .ops import less_equal as less_equal
from .ops import log as log
from .ops import logaddexp as logaddexp
from .ops import logsoftmax as logsoftmax
from .ops import logsumexp as logsumexp
from .ops import lstm as lstm
from .ops import make_tuple as make_tuple
from .ops import masked as masked
from .ops import masked_softmax as masked_softmax
from .ops import matmul as matmul
from .ops import max as max
from .ops import max_pool as max_pool
from .ops import maximum as maximum
from .ops import mean as mean
from .ops import min as min
from .ops import minimum as minimum
from .ops import mod as mod
from .ops import mul_scalar as mul_scalar
from .ops import multiply as multiply
from .ops import negate as negate
from .ops import not_equal as not_equal
from .ops import permute_dims as permute_dims
from .ops import power as power
from .ops import power_scalar as power_scalar
from .ops import prod as prod
from .ops import real as real
from .ops import relu as relu
from .ops import reshape as reshape
from .ops import rms_norm as rms_norm
from .ops import rnn as rnn
from .ops import roots as roots
from .ops import sigmoid as sigmoid
from .ops import sign as sign
from .ops import sin as sin
from .ops import softmax as softmax
from .ops import softmax_loss as softmax_loss
from .ops import split as split
from .ops import sqrt as sqrt
from .ops import stack as stack
from .ops import std as std
from .ops import subtract as subtract
from .ops import summation as summation
from .ops import tanh as tanh
from .ops import transpose as transpose
from .ops import tuple_get_item as tuple_get_item
from .ops import undilate as undilate
from .ops import var as var
from .ops import where as where
from .seeing.anomaly import AnomalyError as AnomalyError
from .seeing.anomaly import detect_anomaly as detect_anomaly
from .seeing.profile import profile as profile
from .seeing.trace import trace as trace
from .transforms import Transformed as Transformed
from .transforms import elementwise_grad as elementwise_grad
from .transforms import grad as grad
from .transforms import hessian as hessian
from .transforms import holomorphic_grad as holomorphic_grad
from .transforms import hvp as hvp
from .transforms import jacobian as jacobian
from .transforms import jvp as jvp
from .transforms import linearize as linearize
from .transforms import stop_gradient as stop_gradient
from .transforms import value_and_grad as value_and_grad
from .transforms import vjp as vjp

if _typing.TYPE_CHECKING:
    from . import backend_ndarray as backend_ndarray
    from . import data as data
    from . import einops as einops
    from . import files as files
    from . import init as init
    from . import learn as learn
    from . import nn as nn
    from . import onnx as onnx
    from . import optim as optim
    from . import scipy as scipy
    from . import special as special
    from . import symbolic as symbolic
    from . import testing as testing
    from . import training as training
    from .files import load as load
    from .files import save as save
    from .optimize import least_squares as least_squares
    from .optimize import minimize as minimize
    from .seeing.draw import Drawing as Drawing
    from .seeing.draw import draw as draw
    from .training import Run as Run

_LAZY = (
    "backend_ndarray",
    "data",
    "einops",
    "files",
    "init",
    "learn",
    "nn",
    "onnx",
    "optim",
    "scipy",
    "special",
    "symbolic",
    "testing",
    "training",
)
_LAZY_NAMES = {
    "Drawing": "seeing.draw",
    "Run": "training",
    "draw": "seeing.draw",
    "least_squares": "optimize",
    "load": "files",
    "minimize": "optimize",
    "save": "files",
}

if not _typing.TYPE_CHECKING:  # else a type checker would take every name

    def __getattr__(name: str) -> _Any:
        """A part of Needle that is imported when it is first asked for."""
        if name in _LAZY:
            return _import_module(f".{name}", __name__)
        if name in _LAZY_NAMES:
            return getattr(_import_module(f".{_LAZY_NAMES[name]}", __name__), name)
        raise AttributeError(f"module 'needle' has no attribute {name!r}")


if _os.environ.get("NEEDLE_BACKEND") == "nd":  # the course's switch: tensors then hand out its arrays
    _import_module(".backend_ndarray", __name__)

__version__ = "0.1.0"

__all__ = [name for name in (*dir(), *_LAZY_NAMES) if name[0] != "_" and not hasattr(_builtins, name)]
"""What `from needle import *` brings: all but what would replace a builtin."""
