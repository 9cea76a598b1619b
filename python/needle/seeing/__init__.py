"""Seeing what a graph does: traces, drawings, the origin of a NaN, times and bytes."""
