"""The options of a site, from the defaults' own comments and the types that validate them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stack.site import Site

_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "True or False",
    IPv4Address: "IPv4 address",
    IPv4Network: "IPv4 network",
    NoneType: "None",
}
_LIMITS = {"gt": "more than", "ge": "at least", "le": "at most"}


@dataclass(frozen=True)
class Option:
    """One value that a site may change: its path, its type in words, its default and what it means.

    ``example`` is another value, where the default says too little.
    """

    path: str
    kind: str
    default: Any
    meaning: str
    example: Any = None


@dataclass(frozen=True)
class Section:
    """A name of the defaults' file with all the options under it; ``meaning`` holds for all."""

    name: str
    meaning: str
    options: tuple[Option, ...]


def sections(defaults: Path) -> Iterator[Section]:
    """The documented options of ``group_data/all.py``, in the order in which they stand there.

    A field of a service that has no comment of its own has that of the first service.
    """
    source = defaults.read_text()
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                meaning = _comment(lines, statement.lineno)
                options = [*_options(lines, value, (name,), "")]
                yield Section(name, meaning, tuple(_inherited(options)))


def under(found: list[Section], path: str) -> Iterator[Section]:
    """The sections with only what stands at ``path`` or below it."""
    for section in found:
        options = tuple(
            o for o in section.options if not path or f"{o.path}.".startswith(f"{path}.")
        )
        if options:
            yield Section(section.name, section.meaning, options)


def _options(
    lines: list[str], value: ast.expr, path: tuple[str, ...], meaning: str
) -> Iterator[Option]:
    if isinstance(value, ast.Dict) and value.keys:
        for key, item in zip(value.keys, value.values, strict=True):
            assert isinstance(key, ast.Constant)
            own = _comment(lines, key.lineno)
            # A comment on a dictionary says what its keys mean; one on a section stands above it.
            yield from _options(lines, item, (*path, str(key.value)), own or meaning)
        return
    kind, example = _described(path)
    yield Option(".".join(path), kind, ast.literal_eval(value), meaning, example)


def _inherited(options: list[Option]) -> Iterator[Option]:
    """Each field of a service with the first service's comment on it, where it has none."""
    meanings: dict[str, str] = {}
    for option in options:
        top, *rest = option.path.split(".")
        field = rest[1] if top == "services" and len(rest) > 1 else option.path
        meaning = option.meaning or meanings.get(field, "")
        meanings.setdefault(field, meaning)
        yield Option(option.path, option.kind, option.default, meaning, option.example)


def _comment(lines: list[str], number: int) -> str:
    """The comment that ends directly above line ``number`` (from 1)."""
    text: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.lstrip().startswith("#"):
            break
        text.insert(0, line.lstrip().lstrip("#").strip())
    return " ".join(text)


def _described(path: tuple[str, ...]) -> tuple[str, Any]:
    """The type of the value at ``path`` in words, and an example of it or None."""
    kind: Any = Site
    field: FieldInfo | None = None
    for part in path:
        kind = _plain(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields[part]
            kind = get_type_hints(kind, include_extras=True)[part]
        else:
            field = None
            kind = get_args(kind)[1]
    limits = _limits(field) if field and not _title(kind) else ""
    examples = (field.examples or [None]) if field else [None]
    return _words(kind) + limits, examples[0]


def _plain(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _title(kind: Any) -> str:
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((note.title or "" for note in notes if isinstance(note, FieldInfo)), "")


def _words(kind: Any) -> str:
    if title := _title(kind):
        return title
    kind = _plain(kind)
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, arguments))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, arguments))
    if get_origin(kind) is list:
        return f"list of {_words(arguments[0])}"
    if get_origin(kind) is dict:
        return f"dictionary of {_words(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"dictionary of {', '.join(kind.model_fields)}"
    return _NAMES[kind]


def _limits(field: FieldInfo) -> str:
    known = (
        f"{words} {getattr(note, name):g}"
        for note in field.metadata
        for name, words in _LIMITS.items()
        if isinstance(getattr(note, name, None), int | float)
    )
    return "".join(f", {limit}" for limit in known)


def as_text(found: list[Section]) -> str:
    """One paragraph for each option."""
    paragraphs = []
    for section in found:
        for option in section.options:
            lines = [option.path, f"    {option.kind}; default {option.default!r}"]
            if option.example is not None:
                lines.append(f"    for example {option.example!r}")
            if meaning := option.meaning or section.meaning:
                lines.append(f"    {meaning}")
            paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def as_json(found: list[Section]) -> list[dict[str, Any]]:
    """One object for each option."""
    return [
        {
            "path": option.path,
            "type": option.kind,
            "default": option.default,
            "meaning": option.meaning or section.meaning,
            **({"example": option.example} if option.example is not None else {}),
        }
        for section in found
        for option in section.options
    ]


_INTRODUCTION = """# Configuration

Every option of a site. `group_data/all.py` has the defaults, `group_data/<site>.py` says what
differs, an inventory entry such as `("gpu1.example.org", {"gpu": "none"})` says it for one host,
and `--data KEY=VALUE` for one run. Dictionaries are merged key by key, everything else is replaced.
Beside these a site may have what pyinfra itself reads (`ssh_user`, `ssh_key`, `_sudo`, ...).

Written by `make docs` from `group_data/all.py` and the types in `stack/site.py`; edit those.
"""


def as_markdown(found: list[Section]) -> str:
    """``docs/configuration.md``."""
    return reduce(lambda text, section: f"{text}\n{_chapter(section)}", found, _INTRODUCTION)


def _chapter(section: Section) -> str:
    groups: dict[str, list[Option]] = {}
    for option in section.options:
        title = ".".join(option.path.split(".")[:2]) if section.name == "services" else section.name
        groups.setdefault(title, []).append(option)
    parts = [f"## {section.name}\n", f"{section.meaning}\n"]
    for title, options in groups.items():
        if title != section.name:
            parts.append(f"### {title}\n")
        parts.append("| option | type | default | meaning |\n| --- | --- | --- | --- |")
        parts += [_row(option) for option in options]
        parts.append("")
    return "\n".join(parts)


def _row(option: Option) -> str:
    meaning = option.meaning
    if option.example is not None:
        meaning += f" For example `{option.example!r}`."
    cells = (f"`{option.path}`", option.kind, f"`{option.default!r}`", meaning.strip())
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
