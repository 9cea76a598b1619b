"""The package onnx, imported here alone."""

try:
    import onnx
    from onnx import helper, numpy_helper
except ImportError as error:
    raise ImportError(f"needle.onnx needs the package onnx: pip install 'needle[onnx]' ({error})") from error

__all__ = ["helper", "numpy_helper", "onnx"]
