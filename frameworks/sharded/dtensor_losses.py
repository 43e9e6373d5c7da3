"""The loss of PyTorch's DTensor, whose import takes seconds: a function of local logits, targets and group."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor import parallel as tensor_parallel


def loss_parallel(
    logits: Tensor, targets: Tensor, group: Any, *, classes: int, reduction: str, **options: Any
) -> Tensor:
    """Return `F.cross_entropy` of a DTensor whose classes are sharded, under `loss_parallel`."""
    shape = torch.Size((len(logits), classes))
    # A mesh that is kept would keep the group alive after a rank has left it, and the others waiting.
    mesh = DeviceMesh.from_group(group, "cpu")
    x = DTensor.from_local(logits, mesh, [Shard(1)], run_check=False, shape=shape, stride=(classes, 1))
    loss = F.cross_entropy(x, targets, reduction=reduction, **options)
    return loss.full_tensor() if isinstance(loss, DTensor) else loss


# The backward pass must run in it too.
loss_parallel.context = tensor_parallel.loss_parallel  # type: ignore[attr-defined]
