"""The package onnx, imported here alone."""

try:
    import onnx
    import onnx.helper as helper
    import onnx.numpy_helper as numpy_helper
except ImportError as error:
    raise ImportError(f"needle.onnx needs the package onnx: pip install 'needle[onnx]' ({error})") from error

__all__ = ["helper", "numpy_helper", "onnx"]
