"""SciPy on arrays, `needle.scipy` on Tensors. Importing one of the modules here imports SciPy."""
