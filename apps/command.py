"""How a program of this folder ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable


def status_of(program: Callable[[], int]) -> int:
    """The exit status of a program: its own; 1 after an error, which is printed; 130 after Ctrl-C."""
    try:
        return program()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
