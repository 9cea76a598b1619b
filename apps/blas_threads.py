"""One thread for the matrix products, unless the environment says otherwise. Import it before NumPy.

The products of one batch are too small to share well: on a busy machine two threads wait for each other and take ten
times as long as one. And a sum split over threads rounds differently: with one, the numbers are the same on any number
of cores.
"""

import os
import sys

if "numpy" not in sys.modules:  # afterwards it is too late, and would only mislead the programs started from here
    for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(_name, "1")
