"""Where watching ends: the C functions and the objects whose state cannot be seen.

A C function leaves no trace of what it reads, and an object of a class defined in C shows no attributes. Those that are
known to be harmless go on being captured; the others end the capture. README.md lists what is neither watched nor ends
it.
"""

from __future__ import annotations

import builtins
import datetime
import re
import sys
import threading
import types
from _thread import RLock, allocate_lock
from collections import OrderedDict, defaultdict, deque
from contextvars import ContextVar
from functools import lru_cache, partial
from operator import attrgetter, itemgetter, methodcaller
from types import FrameType, GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any
from weakref import WeakKeyDictionary, ref

from .. import blocks, threads
from .names import is_library, words

LRU_CACHE = type(lru_cache(len))

# C functions ---------------------------------------------------------------------------------------------------------

_PURE = words(
    "_abc _bisect _blake2 _codecs _collections _contextvars _csv _datetime _decimal _functools _heapq _json _md5 "
    "_opcode _operator _pickle _random _sha1 _sha2 _sha256 _sha3 _sha512 _sre _stat _statistics _string _struct "
    "_typing _warnings _weakref _weakrefset _zoneinfo array binascii builtins cmath collections contextvars datetime "
    "decimal functools itertools math numpy operator re types typing unicodedata weakref zlib zoneinfo"
)
"""Modules whose C functions compute from their arguments alone, but for these:"""
_IMPURE = words(
    "_contextvars.copy_context _pickle.load _random.getstate _weakref.getweakrefcount _weakref.getweakrefs "
    "builtins.__import__ builtins.input datetime.now datetime.today datetime.utcnow decimal.getcontext "
    "decimal.localcontext decimal.setcontext functools.cache_info numpy._get_extobj_dict numpy.fromfile"
)
_ALSO_PURE = words(
    "_io.fileno _io.flush _io.isatty _io.writable _io.write _io.writelines _thread.__enter__ _thread.__exit__ "
    "nt.fspath posix.fspath sys.audit sys.exc_info sys.exception sys.getsizeof sys.intern"
)
"""And these of other modules: what a call writes is not written again, as with `print`."""
_OUTSIDE = words(
    "_asyncio _ctypes _io _locale _multiprocessing _posixshmem _posixsubprocess _queue _signal _socket _sqlite3 "
    "_tracemalloc _uuid _winapi fcntl gc grp io mmap nt posix pwd resource select sqlite3 termios winreg"
)
"""Modules whose C functions look outside, even if it is a library that calls them."""
_DIRECTLY = words("_contextvars.copy_context numpy._get_extobj_dict sys._getframe")
"""C functions that look at what counts only if the user calls the library's function around them: as np.geterr."""
_OWN = {blocks.__file__, threads.__file__}
"""Files that look at whose block is entered or left, and that hand work to threads, on which no number depends."""
_SPEAKING = words("_frozen_importlib _frozen_importlib_external importlib linecache logging traceback warnings")
"""No number is computed from what these modules look at."""


def looks_outside(frame: FrameType, function: Any) -> str:
    """Why a capture ends when the code in this frame calls a C function, as a clause; "" if it does not end.

    The user's code may call pure functions only. A library is taken to know its own C code, but not the files, clocks
    and settings that it looks at for the user.
    """
    if frame.f_code.co_filename in _OWN:
        return ""
    name = _full_name(function)
    module, _, short = name.partition(".")
    if is_pure(function) and not (short == "globals" and short not in frame.f_code.co_names):  # else by another name
        return ""
    caller, depth = frame, 0
    while is_library(caller.f_code.co_filename):
        if str(caller.f_globals.get("__name__")).partition(".")[0] in _SPEAKING or caller.f_back is None:
            return ""
        caller, depth = caller.f_back, depth + 1
    if depth > 1 if name in _DIRECTLY else depth and not (name in _IMPURE or module in _OUTSIDE):
        return ""
    line = f"at {caller.f_code.co_filename}:{caller.f_lineno}"
    if module == "time" or short in {"urandom", "now", "today", "utcnow"}:
        return f"it calls {short}(), which says something else each time, {line}"
    return f"it calls {short}(), which may look at anything, {line}"


def is_pure(function: Any) -> bool:
    """Whether a C function computes from its arguments alone."""
    name = _full_name(function)
    return name in _ALSO_PURE or (name.partition(".")[0] in _PURE and name not in _IMPURE)


def _full_name(function: Any) -> str:
    """module.name of a C function; of a method, with the module of its object's class."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        module = getattr(function, "__module__", None) or getattr(owner, "__name__", "")
    else:
        module = c_class(owner if isinstance(owner, type) else type(owner)).__module__
    return f"{str(module).partition('.')[0]}.{getattr(function, '__name__', '')}"


# Objects -------------------------------------------------------------------------------------------------------------

_SEEN = {
    *[cls for module in (builtins, types, datetime) for cls in vars(module).values() if isinstance(cls, type)],
    *(OrderedDict, defaultdict, deque, ContextVar, partial, ref, LRU_CACHE, type(allocate_lock())),
    *(threading.local, type(RLock()), re.Pattern, re.Match, attrgetter, itemgetter, methodcaller),
} - {memoryview, types.FrameType}
"""Classes defined in C that are immutable, or whose objects a search looks into, or of which no number is made."""
_SEEN_ALL = words("_abc _collections _functools _json _sre _struct _typing functools numba numpy typing zoneinfo")
"""Modules of which that is true of all classes, but for these:"""
_POSITIONS = words("broadcast flatiter nditer")
_FUNCTIONS = words("cython_function_or_method fused_cython_function fortran")
"""The classes of functions that extensions bring along."""
_kinds: WeakKeyDictionary[type[Any], type[Any]] = WeakKeyDictionary()


def c_class(cls: type[Any]) -> type[Any]:
    """The first class of the mro that is defined in C."""
    found = _kinds.get(cls)
    if found is None:
        found = _kinds[cls] = next(base for base in cls.__mro__ if _is_in_c(base))
    return found


def _is_in_c(cls: type[Any]) -> bool:
    """Whether a class has members that no class statement makes."""
    if not cls.__flags__ & 1 << 9:  # not a heap type
        return True
    for name, member in vars(cls).items():
        if getattr(member, "__objclass__", None) is not cls or name in {"__dict__", "__weakref__"}:
            continue
        if isinstance(member, MemberDescriptorType):
            if "__slots__" not in vars(cls):
                return True
        elif isinstance(member, (WrapperDescriptorType, MethodDescriptorType, GetSetDescriptorType)):
            return True
    made = vars(cls).get("__new__")
    return isinstance(made, types.BuiltinMethodType) and made.__self__ is cls


def is_seen(value: Any) -> bool:
    """Whether a search sees all of an object's own state that a number may be computed from."""
    cls = c_class(type(value))
    module = str(cls.__module__).partition(".")[0]
    if cls in _SEEN or module in _SEEN_ALL:
        return cls.__name__ not in _POSITIONS
    if (module, cls.__name__) == ("decimal", "Decimal"):
        return True
    if module == "_io":
        return value in (sys.stdout, sys.stderr) or not _is_readable(value)
    return issubclass(cls, BaseException) or cls.__name__ in _FUNCTIONS


def _is_readable(file: Any) -> bool:
    try:
        return bool(file.readable())
    except (AttributeError, ValueError):  # a closed file
        return False
