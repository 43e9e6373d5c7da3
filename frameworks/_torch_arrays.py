"""NumPy's arrays as PyTorch's tensors, and back."""

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(values: NDArray[Any], device: str) -> Tensor:
    """Return a NumPy array as a tensor; bfloat16 is passed as int16, since PyTorch rejects that of ml_dtypes."""
    # Only a read-only array is copied. The copy keeps the layout, which the case tests.
    own = values if values.flags.writeable else values.copy(order="K")
    if own.dtype == ml_dtypes.bfloat16:
        return _in_its_memory(own.view(np.int16), device).view(torch.bfloat16)
    return _in_its_memory(own, device)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as a NumPy array, of ml_dtypes' bfloat16 for PyTorch's."""
    host = tensor.detach().cpu().contiguous()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
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
