"""Binary packages from their descriptions, the same bytes every time."""

import os
from pathlib import Path

from lab.cache import scratch
from lab.processes import run
from lab.vendors import elf
from lab.vendors.catalogue import Package

# Any fixed moment: the files' time stamps.
EPOCH = "1735689600"


def build(package: Package, directory: Path) -> Path:
    """Write the package into `directory` and return its path."""
    target = directory / package.file_name
    with scratch(directory / f".{package.file_name}") as root:
        control = root / "DEBIAN"
        _write(control / "control", _control(package))
        for name, text in package.files.items():
            _write(root / name, text)
        for name, destination in package.links.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(destination)
        for name, soname in package.libraries.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(elf.shared_library(soname))
        if package.libraries:
            _write(control / "triggers", "activate-noawait ldconfig\n")
        for name, text in package.scripts.items():
            _write(control / name, text)
        settings = [f"/{name}" for name in package.files if name.startswith("etc/")]
        if settings:
            _write(control / "conffiles", "\n".join([*settings, ""]))
        run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, target],
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        )
    return target


def _control(package: Package) -> str:
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": "amd64",
        "Section": "misc",
        "Priority": "optional",
        "Maintainer": "Saiga lab <apt@saiga-lab>",
        **{key.title(): text for key, text in package.relations.items()},
        "Description": f"lab stand-in for {package.name}\n"
        " Made by the Saiga lab; only the name, the version and the relations are the vendor's.",
    }
    return "".join(f"{key}: {text}\n" for key, text in fields.items())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if text.startswith("#!") else 0o644)
