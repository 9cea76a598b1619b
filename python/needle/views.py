"""Notes of tensors that share memory, for assignments: a write to one of them changes the others, too."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any

views: deque[tuple[weakref.ref[Any], weakref.ref[Any], Any]] = deque()
"""The notes: a view, its base, and the op that made it (None: `detach`). ops/assignment.py reads them."""
views_lock = threading.RLock()
"""Held by whoever takes notes out. Adding one goes without: `append` is atomic."""
_most_views = 64


def note_view(view: Any, base: Any, op: Any) -> None:
    """`op` (None: `detach`) made `view`, which shares the memory of `base`, or may share it if that is wrapped or was
    assigned to."""
    global _most_views
    views.append((weakref.ref(view), weakref.ref(base), op))
    if len(views) > _most_views:  # twice as many as were alive the last time
        with views_lock:
            for _ in range(len(views)):
                entry = views.popleft()
                if entry[0]() is not None:
                    views.append(entry)
            _most_views = max(64, 2 * len(views))
