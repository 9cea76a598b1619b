"""Layers and models: Module, its parameters, containers, layers and losses. README.md says how it is built."""

from .activations import ReLU as ReLU
from .containers import Flatten as Flatten
from .containers import Function as Function
from .containers import Identity as Identity
from .containers import ModuleDict as ModuleDict
from .containers import ModuleList as ModuleList
from .containers import Residual as Residual
from .containers import Sequential as Sequential
from .linear import Linear as Linear
from .loading import LoadError as LoadError
from .loading import LoadReport as LoadReport
from .loading import aliases as aliases
from .module import Module as Module
from .module import evaluating as evaluating
from .parameter import Buffer as Buffer
from .parameter import Parameter as Parameter
from .parameter import Pending as Pending
