"""New tensors: constants, random numbers, and the first values of weights.

Random numbers come from NumPy's global state, which `np.random.seed` fixes, unless a generator is given as `rng=`: a
`np.random.Generator`, a `np.random.RandomState`, or an integer to seed one with.
"""

from .basic import Rng as Rng
from .basic import constant as constant
from .basic import generator as generator
from .basic import one_hot as one_hot
from .basic import ones as ones
from .basic import ones_like as ones_like
from .basic import rand as rand
from .basic import randb as randb
from .basic import randn as randn
from .basic import zeros as zeros
from .basic import zeros_like as zeros_like
from .in_place import constant_ as constant_
from .in_place import dirac_ as dirac_
from .in_place import identity_ as identity_
from .in_place import kaiming_normal_ as kaiming_normal_
from .in_place import kaiming_uniform_ as kaiming_uniform_
from .in_place import lecun_normal_ as lecun_normal_
from .in_place import lecun_uniform_ as lecun_uniform_
from .in_place import normal_ as normal_
from .in_place import ones_ as ones_
from .in_place import orthogonal_ as orthogonal_
from .in_place import pytorch_default_ as pytorch_default_
from .in_place import trunc_normal_ as trunc_normal_
from .in_place import uniform_ as uniform_
from .in_place import xavier_normal_ as xavier_normal_
from .in_place import xavier_uniform_ as xavier_uniform_
from .in_place import zeros_ as zeros_
from .initializers import calculate_gain as calculate_gain
from .initializers import dirac as dirac
from .initializers import fans as fans
from .initializers import identity as identity
from .initializers import kaiming_normal as kaiming_normal
from .initializers import kaiming_uniform as kaiming_uniform
from .initializers import lecun_normal as lecun_normal
from .initializers import lecun_uniform as lecun_uniform
from .initializers import orthogonal as orthogonal
from .initializers import pytorch_default as pytorch_default
from .initializers import trunc_normal as trunc_normal
from .initializers import xavier_normal as xavier_normal
from .initializers import xavier_uniform as xavier_uniform
