"""The presentations of rows that a framework, a mode and a form of the loss allow."""

from ....core.interpreting import INTERPRETED
from ....frameworks import Framework, Transformation
from ..forms._form import CallForm, Layout, Returns, TargetDtype
from ._presentation import MEMORY_OF_BOTH, OTHER_MEMORY, Arrangement, CallKind

TRANSFORMATIONS = {
    CallKind.INFERENCE: Transformation.INFERENCE,
    CallKind.AUTOCAST: Transformation.AUTOCAST,
    CallKind.VMAP: Transformation.VMAP,
    CallKind.GRAD: Transformation.GRAD,
    CallKind.JVP: Transformation.JVP,
    CallKind.SECOND: Transformation.SECOND,
}
NEED_AUTOGRAD = frozenset(
    {CallKind.WEIGHTED, CallKind.SUMMED, CallKind.TWICE, CallKind.APART, *TRANSFORMATIONS} - {CallKind.INFERENCE}
)
# The row losses of these are compared one by one; a loss that returns one number for a batch has none.
NEED_ROW_LOSSES = frozenset({CallKind.VMAP, CallKind.JVP, CallKind.APART})
# These take rows one by one, or in another order or number.
NEED_ROWS = frozenset({CallKind.VMAP, CallKind.JVP, CallKind.SECOND, CallKind.THREADS, CallKind.EMPTY})
# The ranks of a sharded loss do not see memory around the arrays, transformations and other threads.
IN_ONE_PROCESS: frozenset[CallKind | Arrangement] = frozenset(
    {CallKind.APART, CallKind.THREADS, *TRANSFORMATIONS, *OTHER_MEMORY}
)


def impossible(
    framework: Framework, mode: str, form: CallForm, *, differentiates: bool
) -> frozenset[CallKind | Arrangement]:
    """Return the presentations that are not possible.

    Args:
        framework: the framework.
        mode: its mode.
        form: how the loss is called.
        differentiates: whether the framework differentiates the loss.
    """
    lacking: set[CallKind | Arrangement] = set()
    lacking |= {call for call, name in TRANSFORMATIONS.items() if name not in framework.transformed}
    if framework.autograd is None:
        lacking |= {CallKind.UNTRACKED, *NEED_AUTOGRAD}
    if not framework.strides:
        lacking |= {CallKind.APART, *OTHER_MEMORY}
    if mode == INTERPRETED:
        lacking |= {CallKind.THREADS}  # Triton's interpreter changes its modules while it runs
    elif mode != "eager":
        # A compiled backward pass runs only once. The other calls would each compile another program.
        lacking |= {CallKind.TWICE, CallKind.INT32, CallKind.EMPTY, CallKind.THREADS, *TRANSFORMATIONS}
    if not differentiates:
        lacking |= NEED_AUTOGRAD
    if form.dense:
        lacking |= {Arrangement.EVERY_OTHER, *MEMORY_OF_BOTH}
    if form.dense or form.target_dtype is not TargetDtype.INT64:
        lacking |= {CallKind.INT32}
    if form.returns is not Returns.ROWS:
        lacking |= NEED_ROW_LOSSES
    if form.layout is not Layout.BC:
        lacking |= {*NEED_ROWS, *MEMORY_OF_BOTH}
    return frozenset(lacking)
