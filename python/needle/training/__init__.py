"""Training runs: what surrounds a training loop, so that the loop itself stays the user's own."""

from .run import Run as Run
