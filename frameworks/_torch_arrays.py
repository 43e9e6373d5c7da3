"""NumPy's arrays as PyTorch's tensors, and back."""

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.formats import NARROW

# The formats that both PyTorch and ml_dtypes have, and integers of their size.
_BITS: dict[str, type[np.generic]] = {"bfloat16": np.int16} | {
    name: np.uint8 for name in NARROW if name.startswith("float8") and hasattr(torch, name)
}


def to_tensor(values: NDArray[Any], device: str) -> Tensor:
    """Return a NumPy array as a tensor; a dtype of ml_dtypes is passed by its bits, since PyTorch rejects the array.

    Raises:
        TypeError: for a dtype that PyTorch does not have.
    """
    # Only a read-only array is copied. The copy keeps the layout, which the case tests.
    own = values if values.flags.writeable else values.copy(order="K")
    bits = _BITS.get(own.dtype.name)
    if bits is not None:
        return _in_its_memory(own.view(bits), device).view(getattr(torch, own.dtype.name))
    return _in_its_memory(own, device)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as a NumPy array, of ml_dtypes' bfloat16 or float8 for PyTorch's."""
    host = tensor.detach().cpu().contiguous()
    name = str(host.dtype).removeprefix("torch.")
    if name in _BITS:
        bits = host.view(getattr(torch, _BITS[name].__name__)).numpy()
        return bits.view(getattr(ml_dtypes, name))
    values: NDArray[Any] = host.numpy()
    return values


def _in_its_memory(values: NDArray[Any], device: str) -> Tensor:
    """Return the array as a tensor; a part of a larger array as the same part of a larger tensor."""
    owner = values.base
    if not isinstance(owner, np.ndarray) or owner.itemsize != values.itemsize or owner.size > 8 * values.size + 64:
        return torch.from_numpy(values).to(device)
    if not owner.flags.c_contiguous or min(values.strides, default=0) < 0:
        return torch.from_numpy(values).to(device)
    start = (values.ctypes.data - owner.ctypes.data) // values.itemsize
    whole = torch.from_numpy(owner.view(values.dtype).reshape(-1)).to(device)
    return whole.as_strided(values.shape, [s // values.itemsize for s in values.strides], start)
