"""Helpers that ask the command line's parser: its verbs, and the verb that a command line reaches."""

from functools import cache

import typer

from logitlab.cli import app


@cache
def whole():
    """Return the command line's parser, made once."""
    return typer.main.get_command(app)


def parsed(arguments):
    """Return the command that the arguments reach; raise a usage error of typer's parser if they do not parse."""
    command, context = whole(), None
    while True:
        context = command.make_context(command.name, list(arguments), parent=context)
        rest = [*context._protected_args, *context.args]
        if not hasattr(command, "resolve_command") or (command.invoke_without_command and not rest):
            return command
        _, command, arguments = command.resolve_command(context, rest)


def verbs(group=None, words=()):
    """Yield the words of each verb, including those in groups: ``("cases",)``, ``("cases", "show")``."""
    group = whole() if group is None else group
    for name, command in group.commands.items():
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from verbs(command, (*words, name))
