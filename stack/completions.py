"""What completes this program's words in three shells: click's scripts, for a program off PATH.

Nothing is completed for another program that is named ``stack`` too.
"""

import shlex
import shutil
from pathlib import Path

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_STACK_COMPLETE"


def script(shell: str, cli: click.Command, program: Path) -> str:
    """The script that completes the words of ``program``, called by its path or, where PATH leads
    to it, by its name."""
    kind: type[ShellComplete] | None = get_completion_class(shell)
    assert kind is not None
    path = shlex.quote(str(program))
    completion = kind(cli, {}, path, VARIABLE)
    function, source = completion.func_name, completion.source()
    found = shutil.which(program.name)
    name = program.name if found and Path(found).resolve() == program.resolve() else ""
    # Shells compare the word as it is typed.
    relative = f"{program.parent.name}/{program.name}"
    match shell:
        case "bash":
            source += f"\ncomplete -o nosort -F {function} {relative} ./{relative} {name}"
        case "zsh":
            here = shlex.quote(f"{program.parent.parent}/./{relative}")
            source = source.replace(f"(( ! $+commands[{path}] )) && return 1", "")
            source += f"\ncompdef {function} {relative} {here} {name}"
        case "fish":
            source += f'\ncomplete --no-files --path {path} --arguments "({function})"'
    return source
