"""The first file of a new site, and its line in the inventory."""

import ast
import json
import keyword
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stack.schema import Option, Section, sections
from stack.site import SiteError

# What most sites look at first, in this order; all others are in docs/configuration.md.
_FIRST = (
    "gpu",
    "services.webbot2.ports.http",
    "services.grafana.ports.http",
    "services.saiga.image",
    "services.embeddings.enabled",
    "networks.mlopsnew.subnet",
    "networks.agent_default.subnet",
    "saiga.model",
    "saiga.max_model_len",
    "saiga.gpu_memory_utilization",
    "embedder",
    "qdrant.collections",
    "knowledge",
    "postgres.settings",
    "prometheus.retention_time",
    "prometheus.retention_size",
    "firewall.open",
    "docker.registry_mirrors",
    "model_hub",
)
WIDTH = 100

_INTRODUCTION = '''"""{name}: what differs from group_data/all.py.

Take the # away where no space follows it, and change the value. Dictionaries are merged key by key:
state only what differs. docs/configuration.md has every option, `bin/stack plan {name}` shows what
follows from a change.
"""

ssh_user = "{user}"
'''


def new_site(name: str, address: str, user: str, root: Path) -> tuple[Path, Path]:
    """Write ``group_data/<name>.py`` and add the site to ``inventory.py``; returns both paths.

    Raises SiteError, having written nothing, when the name cannot be a site's or is taken.
    """
    data, inventory = root / "group_data" / f"{name}.py", root / "inventory.py"
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise SiteError(
            f"{name!r} cannot name a site; use letters, digits and _, beginning with a letter"
        )
    if name in ("all", "inventory"):
        raise SiteError(f"{name} names what all sites have in common; choose another name")
    if data.exists():
        raise SiteError(f"{data.relative_to(root)} exists; choose another name or edit it")
    text = inventory.read_text()
    if name in _assigned(text):
        raise SiteError(f"{inventory.name} has {name} already; choose another name or edit it")
    data.write_text(site_file(name, user, [*sections(root / "group_data/all.py")]))
    inventory.write_text(f"{text.rstrip()}\n\n{name} = [{json.dumps(address)}]\n")
    return data, inventory


def _assigned(source: str) -> set[str]:
    return {
        target.id
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def site_file(name: str, user: str, found: list[Section]) -> str:
    """The text of a new site's file: everything as by default, the first options commented out.

    A ``#`` without a space after it stands before code, one with a space before an explanation.
    """
    options = {option.path: option for section in found for option in section.options}
    meanings = {section.name: section.meaning for section in found}
    chapters: dict[str, list[Option]] = {}
    for first in _FIRST:
        under = [option for path, option in options.items() if f"{path}.".startswith(f"{first}.")]
        chapters.setdefault(first.partition(".")[0], []).extend(under)
    parts = [_INTRODUCTION.format(name=name, user=user)]
    if user != "root":
        parts[0] += "_sudo = True\n"
    for top, chosen in chapters.items():
        tree: dict[str, Any] = {}
        for option in chosen:
            _plant(tree, option.path.split("."), option)
        notes = textwrap.wrap(meanings[top], WIDTH - 2)
        code = _code(f"{top} = ", tree[top], "", {meanings[top]})
        parts.append("".join(f"{line}\n" for line in [*(f"# {note}" for note in notes), *code]))
    return "\n".join(parts)


def _plant(tree: dict[str, Any], path: list[str], option: Option) -> None:
    *branches, leaf = path
    for branch in branches:
        tree = tree.setdefault(branch, {})
    tree[leaf] = option


def _code(key: str, value: Any, indent: str, said: set[str]) -> Iterator[str]:
    """Lines of code behind a ``#``, each key under what it means; nothing is explained twice."""
    end = "," if indent else ""
    if isinstance(value, Option):
        if value.meaning and value.meaning not in said:
            said.add(value.meaning)
            for line in textwrap.wrap(value.meaning, WIDTH - len(indent) - 3):
                yield f"#{indent}# {line}"
        yield f"#{indent}{key}{_literal(value.default)}{end}"
        return
    yield f"#{indent}{key}{{"
    for name, item in value.items():
        yield from _code(f'"{name}": ', item, f"{indent}    ", said)
    yield f"#{indent}}}{end}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)
