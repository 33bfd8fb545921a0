"""The packages that vendors publish, as `packages/*.toml` describes them.

A file lists the repositories that have its packages, the versions, and the packages; each package
exists in each version in each repository. Values of a repository and of a version, and `version`,
`upstream`, `branch`, `kernel` and `kernel_version`, stand in braces in every name and text, and
between @ marks in the files of `programs/`.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.template import fill

DIRECTORY = Path(__file__).resolve().parent
DESCRIPTIONS = DIRECTORY / "packages"
PROGRAMS = DIRECTORY / "programs"

RELATIONS = ("pre-depends", "depends", "recommends", "conflicts", "provides")
KEYS = {*RELATIONS, "version", "values", "files", "links", "libraries", "scripts"}


@dataclass(frozen=True)
class Package:
    """One binary package: relations by field, files, links and libraries (sonames) by path."""

    name: str
    version: str
    relations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """As apt names it in its archive: without the epoch's colon."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_amd64.deb"


def load(directory: Path = DESCRIPTIONS, programs: Path = PROGRAMS) -> dict[str, list[Package]]:
    """All packages by the path of the repository that has them.

    Raises LabError that names the file and the package for an unknown key or value.
    """
    repositories: dict[str, dict[tuple[str, str], Package]] = {}
    for file in sorted(directory.glob("*.toml")):
        text = tomllib.loads(file.read_text())
        for path, own in text["repositories"].items():
            found = repositories.setdefault(path, {})
            for package in _packages(file, text, own, programs):
                found.setdefault((package.name, package.version), package)
    return {path: list(found.values()) for path, found in repositories.items()}


def _packages(
    file: Path, text: Mapping[str, Any], own: Mapping[str, str], programs: Path
) -> Iterator[Package]:
    kernel = os.uname().release
    machine = {"kernel": kernel, "kernel_version": kernel.split("-")[0], **own}
    for key, given in text["versions"].items():
        version = key.format_map(machine)
        upstream = re.sub(r"^\d+:|-[^-]*$", "", version)
        values = {
            **machine,
            **{name: value.format_map(machine) for name, value in given.items()},
            "version": version,
            "upstream": upstream,
            "branch": upstream.split(".")[0],
        }
        for name, description in text["packages"].items():
            where = f"{file.name}: {name}"
            if unknown := set(description) - KEYS:
                raise LabError(f"{where}: there is no key {min(unknown)}")
            try:
                yield _package(name, description, values, programs)
            except KeyError as error:
                raise LabError(f"{where}: there is no value {error}") from error


def _package(
    name: str, description: Mapping[str, Any], common: Mapping[str, str], programs: Path
) -> Package:
    values = {**common, **description.get("values", {})}

    def names(key: str) -> dict[str, str]:
        pairs = description.get(key, {}).items()
        return {target.format_map(values): source.format_map(values) for target, source in pairs}

    def texts(key: str) -> dict[str, str]:
        pairs = names(key).items()
        return {target: fill((programs / source).read_text(), values) for target, source in pairs}

    return Package(
        name=name.format_map(values),
        version=description.get("version", "{version}").format_map(values),
        relations={
            key: description[key].format_map(values) for key in RELATIONS if key in description
        },
        files=texts("files"),
        links=names("links"),
        libraries=names("libraries"),
        scripts=texts("scripts"),
    )
