"""A production site cannot pull in anything from lab/."""

import ast
from pathlib import Path

import pytest

from stack.site import Site
from stack.topology import desired

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = [
    ROOT / "deploy.py",
    ROOT / "inventory.py",
    ROOT / "group_data/all.py",
    *sorted((ROOT / "roles").rglob("*.py")),
    *sorted((ROOT / "stack").rglob("*.py")),
    *sorted((ROOT / "services").rglob("*.py")),
]


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return modules


@pytest.mark.parametrize("path", PRODUCTION, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_the_lab(path: Path) -> None:
    assert not imported(path) & {"lab", "tests"}


@pytest.mark.parametrize(
    "path",
    [path for path in PRODUCTION if path.is_relative_to(ROOT / "stack")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_core_imports_pyinfra_in_one_place_only(path: Path) -> None:
    if not path.is_relative_to(ROOT / "stack/pyinfra") and path.name not in (
        "cli.py",
        "secret_cli.py",
    ):
        assert not imported(path) & {"pyinfra", "pyinfra_cli"}


def test_no_default_names_the_lab(site: Site) -> None:
    text = repr(desired(site)) + site.model_dump_json()
    for word in ("stand-in", "saiga-lab", "10.77."):
        assert word not in text


def test_no_image_of_ours_is_built_from_the_lab(site: Site) -> None:
    for container in desired(site).containers:
        if container.build:
            assert Path(container.build.folder).is_relative_to(ROOT / "services")
