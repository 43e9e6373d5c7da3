"""The status and the message of an exception that a loss raises."""

import re

from ....core.errors import format_error
from ....core.vocabulary import Status
from ....frameworks import Framework

LONGEST = 2000  # characters of a message; a compiler's can have more than a hundred thousand

# The loss or its framework says that it lacks the dtype or the operation.
_LACKS = re.compile(
    r"\bnot (currently |yet |)(supported|implemented)|unsupported|unimplemented|(does not|doesn't) support"
    r"|only supports?\b|could not run",
    re.IGNORECASE,
)
# Python and the frameworks report a bug with similar words: "'numpy.float32' object does not support item assignment".
_BUG = re.compile(
    r"' object|operand type|between instances|keyword argument|positional argument|no callable|cannot cast|same dtype",
    re.IGNORECASE,
)
_NAMES = {
    "float16": r"\b(float16|fp16|f16|half)\b",
    "bfloat16": r"\b(bfloat16|bf16)\b",
    "float32": r"\b(float32|fp32|f32)\b",
    "float64": r"\b(float64|fp64|f64|double)\b",
}


def fault(framework: Framework, error: BaseException, dtype: str) -> tuple[Status, str]:
    """Return the status of a call that raised the error, and the error's message on one line."""
    status = Status.UNSUPPORTED if _says_unsupported(framework, error, dtype) else Status.RAISED
    return status, format_error(error, LONGEST, framework.message)


def _says_unsupported(framework: Framework, error: BaseException, dtype: str) -> bool:
    """Return whether the error says that the loss does not support the call.

    The message of a NotImplementedError or TypeError must name the dtype, or have words such as "not supported". Any
    other exception must have both, or the framework's own words.
    """
    if not isinstance(error, Exception):
        return False
    try:
        message = str(error)
        if framework.unsupported(Exception(message)):
            return True
        # TensorFlow puts the lines of the user's code before the message.
        message = message.rpartition("\n\n")[2] if message.startswith("in user code:") else message
        lacks = _LACKS.search(message) is not None
        names = dtype in _NAMES and re.search(_NAMES[dtype], message, re.IGNORECASE) is not None
        if isinstance(error, NotImplementedError | TypeError):
            bare = isinstance(error, NotImplementedError) and not message.strip()
            return bare or ((lacks or names) and _BUG.search(message) is None)
        return (lacks and names) or framework.unsupported(error)
    except Exception:  # the error cannot be printed
        return False
