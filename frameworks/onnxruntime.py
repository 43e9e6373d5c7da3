"""ONNX Runtime: the forward pass of the operator SoftmaxCrossEntropyLoss, in a model with this single node."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as states

from ._batch import Batch, Implementation
from ._framework import Framework

Array = NDArray[Any]

# The first operator set whose SoftmaxCrossEntropyLoss takes bfloat16, and a version of the file format that every ONNX
# Runtime since 1.19 reads.
OPSET, IR_VERSION = 13, 10
# One thread, since the division of a sum among threads would depend on the number of cores.
THREADS, PROVIDER = 1, "CPUExecutionProvider"


def _declared(name: str, dtype: np.dtype[Any], dims: int | None) -> onnx.ValueInfoProto:
    sizes = None if dims is None else [f"{name}{i}" for i in range(dims)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), sizes)


@cache
def _session(
    logits: np.dtype[Any], targets: np.dtype[Any], dims: int, reduction: str, weighted: bool, ignore_index: int | None
) -> onnxruntime.InferenceSession:
    """Return a session that runs the operator on arrays of any shape with these dtypes and number of dimensions."""
    inputs = [_declared("logits", logits, dims), _declared("targets", targets, dims - 1)]
    if weighted:
        inputs.append(_declared("weight", logits, 1))
    # make_node leaves out an attribute that is None.
    node = helper.make_node(
        "SoftmaxCrossEntropyLoss", [i.name for i in inputs], ["loss"], reduction=reduction, ignore_index=ignore_index
    )
    graph = helper.make_graph([node], "loss", inputs, [_declared("loss", logits, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])


def softmax_cross_entropy_loss(
    logits: Array, targets: Array, *, reduction: str, weight: Array | None = None, ignore_index: int | None = None
) -> Array:
    """Return the operator's loss of logits (B, C) or (N, C, D) and integer targets."""
    session = _session(logits.dtype, targets.dtype, logits.ndim, reduction, weight is not None, ignore_index)
    given = {"logits": logits, "targets": targets}
    if weight is not None:
        given["weight"] = weight
    (loss,) = session.run(None, given)
    return np.asarray(loss)


class OnnxRuntimeFramework(Framework):
    """ONNX Runtime on the CPU."""

    name = "onnxruntime"
    implementations = (
        Implementation(
            "onnxruntime/SoftmaxCrossEntropyLoss",
            "builtin",
            softmax_cross_entropy_loss,
            "onnxruntime",
            differentiable=False,
            reduces=True,
            class_axis=1,
        ),
    )

    def settings(self) -> Mapping[str, str]:
        return {"threads": str(THREADS), "provider": PROVIDER}

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, Array]]:
        logits, targets = batch.spatial(batch.in_memory(), batch.targets, implementation.class_axis)
        loss = implementation.loss(logits, targets, reduction=batch.reduction, **batch.options)
        yield "loss", loss.reshape(-1) if batch.reduction == "none" else loss

    def unsupported(self, error: Exception) -> bool:
        # "Type 'tensor(bfloat16)' of input parameter ... is invalid", "Could not find an implementation for ...".
        return isinstance(error, (states.InvalidGraph, states.NotImplemented))


FRAMEWORK = OnnxRuntimeFramework()
