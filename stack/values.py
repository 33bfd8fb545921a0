"""The kinds of values that site data consists of; each refuses with what would be right."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

ROOT = Path(__file__).resolve().parent.parent

GIB = 1024**3
SIZE_FACTORS = {"k": 1024, "m": 1024**2, "g": GIB}
LEAST_MEMORY = "6m"

_SIZE = re.compile(r"(\d+)([kmg])")
_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+|[a-z0-9._-]+)"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?P<digest>@sha256:[0-9a-f]{64})?"
)


def parse_size(text: str) -> int:
    """Bytes of a size such as ``512m``; raises ValueError for any other notation."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number with k, m or g, such as 512m")
    return int(match[1]) * SIZE_FACTORS[match[2]]


def _size(text: str) -> str:
    parse_size(text)
    return text


def _memory(text: str) -> str:
    if parse_size(text) < parse_size(LEAST_MEMORY):
        raise ValueError(f"{text!r} is less than the least that Docker takes, {LEAST_MEMORY}")
    return text


def _pinned(reference: str) -> str:
    match = _REFERENCE.fullmatch(reference)
    if not match:
        raise ValueError(
            f"{reference!r} is no image reference; write name:version or name@sha256:..., the name"
            " in small letters"
        )
    built_here = reference.startswith("saiga-stack/")
    if not match["digest"] and not built_here and match["tag"] in (None, ":latest"):
        raise ValueError(f"{reference!r} has no pinned tag; write name:version or name@sha256:...")
    return reference


def _folder(path: str) -> str:
    if not (ROOT / path).is_dir():
        where = "" if Path(path).is_absolute() else " in the checkout"
        raise ValueError(f"there is no folder {path!r}{where}")
    return path


def _addresses(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is no network; write an address or a network such as 10.0.0.0/8"
        ) from None


def _matching(pattern: str, sentence: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} {sentence}")
        return text

    return check


Text = Annotated[
    str,
    AfterValidator(_matching(r"(?s).*\S.*", "says nothing; write a value")),
    Field(title="text"),
]
Name = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[a-zA-Z0-9][a-zA-Z0-9_.-]+",
            "is no name; use letters, digits, _ . and -, beginning with a letter or digit",
        )
    ),
    Field(title="name"),
]
Identifier = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[a-z_][a-z0-9_]*",
            "is no name of a database; use small letters, digits and _, beginning with a letter",
        )
    ),
    Field(title="name"),
]
Size = Annotated[str, AfterValidator(_size), Field(title="size such as 512m")]
Memory = Annotated[str, AfterValidator(_memory), Field(title="size such as 512m")]
ImageReference = Annotated[str, AfterValidator(_pinned), Field(title="image")]
Folder = Annotated[str, AfterValidator(_folder), Field(title="folder")]
Url = Annotated[
    str,
    AfterValidator(
        _matching(r"https?://[^\s/]+(/\S*)?", "is no URL; write http:// or https://...")
    ),
    Field(title="URL"),
]
RepositoryUrl = Annotated[
    str,
    AfterValidator(
        _matching(
            r"https?://\S+[^/\s]",
            "is no URL of a repository; write http:// or https://..., without / at its end",
        )
    ),
    Field(title="URL"),
]
Fingerprint = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[0-9A-F]{40}",
            "is no fingerprint of a key; write its 40 digits 0-9 and A-F, without spaces",
        )
    ),
    Field(title="fingerprint"),
]
KernelVersion = Annotated[
    str,
    AfterValidator(
        _matching(r"\d+\.\d+", "is no version of a kernel; write two numbers, such as 6.12")
    ),
    Field(title="version such as 6.12"),
]
SettingName = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?",
            "is no name of a setting; use small letters, digits and _, beginning with a letter",
        )
    ),
]
SettingValue = Annotated[
    str,
    AfterValidator(
        _matching(r"[^'\\\n]*", "has a quote, a backslash or a line break; write it without")
    ),
    Field(title="text"),
]
ExtensionName = Annotated[
    str,
    AfterValidator(
        _matching(r"[a-z0-9_-]+", "is no name of an extension; use small letters, digits, _ and -")
    ),
    Field(title="name"),
]
Registry = Annotated[
    str,
    AfterValidator(
        _matching(r"[A-Za-z0-9.-]+(:\d+)?", "is no registry; write host or host:port, no http://")
    ),
    Field(title="host or host:port"),
]
Duration = Annotated[
    str,
    AfterValidator(
        _matching(
            r"(?=.)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?",
            "is no time; write a number with y, w, d, h, m or s, such as 7d",
        )
    ),
    Field(title="time such as 7d"),
]
DiskSize = Annotated[
    str,
    AfterValidator(
        _matching(
            r"\d+[KMGTP]?B", "is no size on disk; write a number with MB, GB or TB, such as 5GB"
        )
    ),
    Field(title="size on disk such as 5GB"),
]
Addresses = Annotated[str, AfterValidator(_addresses), Field(title="network")]
Interface = Annotated[
    str,
    AfterValidator(
        _matching(r"[A-Za-z0-9_.@:-]{1,15}", "is no network interface; write its name, such as wg0")
    ),
    Field(title="network interface"),
]
Count = Annotated[int, Field(strict=True, gt=0, title="whole number from 1")]
HostPort = Annotated[int, Field(strict=True, ge=1, le=65535, title="port")]
Switch = Annotated[bool, Field(strict=True, title="True or False")]
