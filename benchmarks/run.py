"""All benchmarks, or those named by --only: `python benchmarks/run.py --only mnist_step --rounds 9`."""

import captured
import chain
import convolution
import deep
import derivatives
import import_time
import loader
import memory
import mnist_step
import numpy_code
import optimizers
import recurrent
from harness import main

BENCHMARKS = {
    "mnist_step": mnist_step.run,
    "chain": chain.run,
    "captured": captured.run,
    "convolution": convolution.run,
    "deep": deep.run,
    "derivatives": derivatives.run,
    "numpy_code": numpy_code.run,
    "optimizers": optimizers.run,
    "import_time": import_time.run,
    "loader": loader.run,
    "memory": memory.run,
    "recurrent": recurrent.run,
}

if __name__ == "__main__":
    main(BENCHMARKS)
