import sys
from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_cases, complete_dtypes, complete_frameworks
from ._output import gathered_output
from ._project import each_loss, missing
from ._shared import Device, Mode, Values, check_formats, no_arguments, show_progress_and_lines

LOSS_HELP = "A function of logits (B, C) and targets (B,); a call MODULE:NAME(...) that makes one; or FILE.py:LOSS."


def check(
    loss: Annotated[str | None, typer.Argument(metavar="MODULE:LOSS", help=LOSS_HELP)] = None,
    framework: Annotated[
        str | None,
        typer.Option(
            help="The framework of its arrays: torch, jax, tensorflow or numpy.", autocompletion=complete_frameworks
        ),
    ] = None,
    dtype: Annotated[
        Values,
        typer.Option(
            help="Dtypes that it must support; by default all that it supports. Repeatable.",
            autocompletion=complete_dtypes,
        ),
    ] = None,
    require: Annotated[str, typer.Option(help="The worst grade that passes, A to D.")] = "B",
    require_loss: Annotated[str | None, typer.Option(help="The worst grade of the loss, if not --require.")] = None,
    require_gradient: Annotated[
        str | None, typer.Option(help="The worst grade of the gradient, if not --require.")
    ] = None,
    gradient: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="A gradient (B, C) written by hand.")
    ] = None,
    device: Device = "cpu",
    mode: Mode = "eager",
    problem: Annotated[
        str, typer.Option(help="Its problem: logits, or linear for hidden states and a weight.")
    ] = "logits",
    returns: Annotated[str, typer.Option(help="The result of the loss: rows, mean or sum.")] = "rows",
    weight_layout: Annotated[str, typer.Option(help="The axes of the weight: ch or hc (linear problem).")] = "ch",
    layout: Annotated[str, typer.Option(help="The axes of its logits: bc, btc or bct.")] = "bc",
    targets: Annotated[str, typer.Option(help="Its targets: index, onehot or soft.")] = "index",
    target_dtype: Annotated[str, typer.Option(help="The dtype of class indices: int64, int32 or logits.")] = "int64",
    targets_first: Annotated[
        bool | None,
        typer.Option("--targets-first/--logits-first", help="The order of its arguments; by default its names tell."),
    ] = None,
    set_: Annotated[
        Values, typer.Option("--set", metavar="NAME=VALUE", help="A further keyword of every call. Repeatable.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="N", help="The index or name of the loss in its result.")
    ] = None,
    negate: Annotated[bool, typer.Option("--negate", help="It returns log-probabilities of the targets.")] = False,
    may_overwrite: Annotated[
        bool, typer.Option("--may-overwrite", help="It may write into its arguments, such as the gradient.")
    ] = False,
    internal: Annotated[str | None, typer.Option(help="The dtype in which it computes, such as float32.")] = None,
    min_classes: Annotated[int | None, typer.Option(help="The fewest classes of a row.")] = None,
    max_classes: Annotated[int | None, typer.Option(help="The most classes of a row.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="The most rows of a batch.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try only a few widths, batches and calls.")] = False,
    huge: Annotated[
        bool, typer.Option("--huge", help="Try more than 2**31 logits in one call too, if memory suffices.")
    ] = False,
    repeat: Annotated[
        int | None, typer.Option(help="How often three batches are called to find a race; 0 for none.")
    ] = None,
    bitwise: Annotated[
        bool, typer.Option("--bitwise", help="Check only whether each row keeps its bits in other calls.")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(help="The ranks of a sharded loss of local logits, targets and a group.")
    ] = None,
    even_shards: Annotated[
        bool, typer.Option("--even-shards", help="Leave out numbers of classes that the shards do not divide evenly.")
    ] = False,
    case: Annotated[
        Values, typer.Option(help="Cases to try: a glob over family/name. Repeatable.", autocompletion=complete_cases)
    ] = None,
    first: Annotated[bool, typer.Option(help="Stop at the first batch that fails.")] = False,
    again: Annotated[
        bool, typer.Option("--last-failed", help="Try only what failed in the last check of this loss.")
    ] = False,
    format: Annotated[
        Values, typer.Option(help="text, markdown, json, junit, sarif, github or badge. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report, failures and reproducer to this folder.")] = None,
) -> None:
    """Check your own loss against the exact answer.

    The exit code is 0 if every row has the required grade, 1 if one has not, and 2 if the loss cannot be measured.

    The function takes the framework's arrays and returns the row losses (B,). LogitLab calls it in this process, on the
    catalogue's cases and on seeded rows of many widths. Each row is tried in several batches, orders and layouts, and
    with each loss option that the function's signature names. If a row fails, the report shows the smallest input that
    fails and a program that reproduces it.

    With --last-failed only the dtypes and widths are tried in which a row failed in the last check of this loss; with
    --problem linear, the dtypes and cases.

    With --bitwise the check compares bits instead: a row alone, among others, at another place, beside other rows,
    again, and with other numbers of threads. The exit code is 1 if any bit of its loss or gradient changes.

    With --shards N the function takes the logits of a rank's classes (B, C_local), targets (B,) and the process group,
    or in JAX the name of the axis. N ranks call it, and must return the same row losses.

    With --problem linear the function takes hidden states (B, H), a weight (C, H), targets (B,), and the keywords that
    it names, such as bias and class_weight. Its gradients by hidden states, weight and bias are checked too.

    Defaults come from [tool.logitlab] in the pyproject.toml of this folder or one above it: losses, framework, dtypes,
    require and cases. Without MODULE:LOSS each of its losses is checked.
    """
    if loss is None:
        each_loss(check, locals())
        return
    if framework is None:
        raise missing("framework", "--framework")
    from ..core.threads import let_idle_threads_sleep

    let_idle_threads_sleep()  # before the loss's module imports PyTorch
    from ..studies import check as checking

    formats = list(dict.fromkeys(format or ["text"]))
    check_formats(formats, checking.FORMATS)
    if out is not None:
        checking.prepare(out, checking.file_names(formats))
    call = {
        "loss": loss, "framework": framework, "gradient": gradient, "device": device, "mode": mode, "problem": problem,
        "returns": returns, "weight_layout": weight_layout, "layout": layout, "targets": targets,
        "target_dtype": target_dtype, "targets_first": targets_first, "set": set_, "output": output, "negate": negate,
        "may_overwrite": may_overwrite, "internal": internal, "bitwise": bitwise, "shards": shards,
        "even_shards": even_shards,
    }  # fmt: skip
    retry = checking.last_failed(call) if again else None
    if again and not retry:
        print(f"logitlab: no failure of {loss} is stored; everything is checked", file=sys.stderr)
    with gathered_output() as printed, no_arguments(), show_progress_and_lines(printed.stream) as (show, say):
        checking.load_framework(framework, mode)  # before the loss imports Keras or Triton, which it sets up
        name, function = checking.named(loss)
        by_hand = checking.named(gradient)[1] if gradient else None
        result = checking.check(
            function, framework, dtype, require,
            require_loss=require_loss, require_gradient=require_gradient,
            name=name, gradient=by_hand, device=device, mode=mode, cases=case, first=first,
            problem=problem, returns=returns, weight_layout=weight_layout,
            layout=layout, targets=targets, target_dtype=target_dtype,
            output=checking.output_named(output), negate=negate, targets_first=targets_first,
            keywords=checking.assigned(set_ or ()),
            may_overwrite=may_overwrite, internal=internal, min_classes=min_classes, max_classes=max_classes,
            max_rows=max_rows, quick=quick, huge=huge, repeat=repeat, bitwise=bitwise,
            shards=shards, even_shards=even_shards, retry=retry,
            progress=show, on_failure=lambda line: say(f"first failure: {line}"),
        )  # fmt: skip
    checking.keep_failed(call, result, retry)
    written = list(checking.write_formats(result, formats, checking.location(function), out))
    lines = list(printed.lines())
    if lines:
        print("Printed during the check:", *lines, sep="\n", file=sys.stderr)
    for path in written:
        print(path)
    if not result.passed:
        raise typer.Exit(1)
