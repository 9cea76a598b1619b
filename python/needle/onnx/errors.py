"""The errors of an export."""


class ExportError(ValueError):
    """A program that ONNX cannot express, or for which there is no row yet."""


class VariesError(ExportError):
    """Something changes with the symbols in a way that cannot be exported."""
