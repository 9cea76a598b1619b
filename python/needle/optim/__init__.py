"""Optimizers: a step in place for plain training, and by operations where it is captured; schedules; averages."""

from . import schedules as schedules
from .adaptive import Adagrad as Adagrad
from .adaptive import Adam as Adam
from .adaptive import AdamW as AdamW
from .adaptive import Lion as Lion
from .adaptive import RMSprop as RMSprop
from .averaging import EMA as EMA
from .groups import Group as Group
from .muon import Muon as Muon
from .muon import split_decay as split_decay
from .optimizer import Optimizer as Optimizer
from .optimizer import Rule as Rule
from .sgd import SGD as SGD
