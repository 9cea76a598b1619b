"""Files: safetensors read and written, PyTorch's `.pt` read without PyTorch, and all of a training run in one file.

No file is ever unpickled freely: nothing that is read here can run code.
"""

from .safetensors import read_metadata as read_metadata
from .safetensors import read_safetensors as read_safetensors
from .safetensors import write_safetensors as write_safetensors
from .saving import load as load
from .saving import save as save
from .torch_file import read_torch as read_torch
