"""Many answers in the output of one remote command: each stands below the title of its section."""

import shlex

_TITLE = "=== saiga-stack "
# POSIX shell functions. ``s NAME`` begins the section NAME. ``later NAME COMMAND`` makes one of
# what a command prints while the script goes on; ``together`` waits for all of those.
BEGIN = f"""s() {{ printf '%s%s\\n' {shlex.quote(_TITLE)} "$1"; }}
answers=
later() {{
    if ! [ "$answers" ]; then
        answers=$(mktemp -d -p /dev/shm) || exit
        trap 'rm -rf "$answers"' EXIT
    fi
    name=$1; shift; "$@" >"$answers/$name" 2>/dev/null &
}}
together() {{ wait; for name in "$answers"/*; do s "${{name##*/}}"; cat "$name"; done; }}"""
END = "s end"


def split(output: str) -> dict[str, str]:
    """Section name to its text. Raises ValueError when the output is cut short."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith(_TITLE):
            current = sections.setdefault(line.removeprefix(_TITLE), [])
        else:
            current.append(line)
    if "end" not in sections:
        raise ValueError("the observation of the host is incomplete: its last section is missing")
    return {name: "\n".join(lines) for name, lines in sections.items()}
