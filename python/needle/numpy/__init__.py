"""NumPy's functions and the Array API standard on Tensors, differentiable: `import needle.numpy as np`."""
