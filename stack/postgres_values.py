"""Values of PostgreSQL's settings, compared as PostgreSQL does: 1GB is 1024MB, on is true."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stack.docker.plan import Change

_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([A-Za-z]*)\s*", re.I)
_UNIT = re.compile(r"(\d*)(\w+)")
_BYTES = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_MICROSECONDS = {
    **{"us": 1, "ms": 1000, "s": 10**6},
    **{"min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6},
}
_SWITCH = {"on": True, "true": True, "yes": True, "1": True} | dict.fromkeys(
    ("off", "false", "no", "0"), False
)


@dataclass(frozen=True)
class Shown:
    """What pg_settings has of one setting; ``kind`` is its vartype, ``shown`` what SHOW says."""

    setting: str
    unit: str
    kind: str
    shown: str


def differing(wanted: Mapping[str, str], shown: Mapping[str, Shown]) -> Iterator[Change]:
    """Settings with which the server does not serve as the site says.

    Texts are left out, because PostgreSQL writes some of them anew, and so is -1, which stands for
    a value that it works out at its start.
    """
    for name, value in sorted(wanted.items()):
        found = shown.get(name)
        if found and _meant(value, found) not in (None, _meant(found.setting, found)):
            yield Change(name, found.shown, value)


def _meant(value: str, found: Shown) -> float | str | bool | None:
    """``value`` in the setting's own unit; None where it cannot be compared."""
    match found.kind:
        case "bool":
            return _SWITCH.get(value.lower())
        case "enum":
            return value.lower()
        case "integer" | "real":
            return _number(value, found)
    return None


def _number(value: str, found: Shown) -> float | None:
    number, base = _NUMBER.fullmatch(value), _UNIT.fullmatch(found.unit)
    if not number or float(number[1]) == -1:
        return None
    scale = 1.0
    if number[2]:
        units = _BYTES if base and base[2] in _BYTES else _MICROSECONDS
        if not base or number[2] not in units:
            return None
        scale = units[number[2]] / (units[base[2]] * int(base[1] or 1))
    result = float(number[1]) * scale
    return float(round(result)) if found.kind == "integer" else result
