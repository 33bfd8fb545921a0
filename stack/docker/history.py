"""What each container was before its last change, noted on the host: what a rollback returns to."""

import shlex
from dataclasses import replace
from functools import cache

from pydantic import TypeAdapter, ValidationError

from stack.docker.spec import Container

SERVING_DIR = "/var/lib/saiga-stack/serving"


@cache
def _adapter() -> TypeAdapter[Container]:
    """Made when it is first needed: a run without change never needs it."""
    return TypeAdapter(Container)


def serving(name: str) -> str:
    """Path of the note of what the container ``name`` is; readable by root only."""
    return f"{SERVING_DIR}/{name}.json"


def before(name: str) -> str:
    """Path of the note of what it was before its last change."""
    return f"{SERVING_DIR}/{name}.before.json"


def note(container: Container) -> str:
    """The container with its configuration files as text for its note.

    What it is built from is left out: the source may be another one by the time of a rollback.
    """
    return _adapter().dump_json(replace(container, build=None)).decode()


def noted(text: str) -> Container:
    """The container of a note. Raises ValueError when it is none that this version can read."""
    try:
        return _adapter().validate_json(text)
    except ValidationError:
        raise ValueError("the note was written by a version that knew other settings") from None


def keep_note(name: str, new: str) -> str:
    """A shell command that puts the note ``new`` (a path) in place, the last one stays as before.

    A container that is what it was keeps its notes.
    """
    now, last = shlex.quote(serving(name)), shlex.quote(before(name))
    new = shlex.quote(new)
    return (
        f"if cmp -s {new} {now}; then rm {new};"
        f" else {{ [ ! -e {now} ] || mv {now} {last}; }} && mv {new} {now}; fi"
    )
