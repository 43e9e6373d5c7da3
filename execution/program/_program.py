"""Write the program of one call: the inputs, the call as it is measured, its result, the exact values, the versions."""

from collections.abc import Iterator

import numpy as np

from ...core.errors import format_error
from ...core.literals import nested_list
from ...frameworks import Framework, Implementation, LinearBatch
from ...frameworks.source import NoSourceError
from .. import registry
from ._call import Call
from ._imports import definitions, imports, names_in, versions
from ._linear import LinearCall
from ._logits import LogitsCall
from ._request import NeedsFileError, ProgramRequest, Written


def write(request: ProgramRequest) -> Written:
    """Return the program; called in a worker of the framework."""
    framework = registry.load(request.framework)
    chosen = framework.all_implementations[request.implementation]
    if not framework.syntax.measured:
        return Written(problem=f"{framework.name} is part of LogitLab, and no program without it computes the same")
    refusal = request.batch.refusal(chosen)
    if refusal is not None:
        return Written(problem=f"it {refusal}, so no call is made")
    try:
        call = _call(framework, chosen, request)
        return Written(program=_program(framework, chosen, request, call), arrays=call.arrays)
    except NeedsFileError as error:
        return Written(problem=f"no short expression gives its {error}", needs_file=True)
    except NoSourceError as error:
        return Written(problem=str(error))
    except Exception as error:  # the framework of another package may raise anything
        return Written(problem=format_error(error))


def _call(framework: Framework, chosen: Implementation, request: ProgramRequest) -> Call:
    batch = request.batch
    if isinstance(batch, LinearBatch):
        return LinearCall(framework, chosen, request, batch)
    return LogitsCall(framework, chosen, request, batch)


def _program(framework: Framework, chosen: Implementation, request: ProgramRequest, call: Call) -> str:
    body = [*call.inputs(), *call.computed(), *_printed(framework, request)]
    text = "\n".join(body)
    defined = definitions(call.definitions.lines, text)
    names = names_in(text).union(*map(names_in, defined))
    needed = list(call.definitions.imports)
    imported = list(imports(framework, chosen.package, call.dtype, request, needed, names))
    remarks = [f"# {line}" for line in request.remarks]
    gap = [""] if defined else []
    return (
        "\n".join([*remarks, *imported, *gap, *defined, *gap, *body, versions(framework, chosen.package, imported)])
        + "\n"
    )


def _printed(framework: Framework, request: ProgramRequest) -> Iterator[str]:
    quantity, index, exact = request.quantity, request.index, request.exact
    whole = f"{quantity}[{', '.join(map(str, index))}]" if index else quantity
    yield f"print({quantity + ':'!r}, {framework.syntax.numbers.format(array=whole)})"
    if exact is not None:
        yield f"print({'exact:'!r}, {nested_list(exact, _shown)})"


def _shown(value: float) -> str:
    return repr(float(value)) if np.isfinite(value) else str(float(value))
