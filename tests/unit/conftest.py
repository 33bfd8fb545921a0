"""Site data for tests."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from stack.site import Site, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    """What group_data/all.py says."""
    values = runpy.run_path(str(ROOT / "group_data/all.py"))
    return {name: value for name, value in values.items() if not name.startswith("__")}


@pytest.fixture
def site(defaults: dict[str, Any]) -> Site:
    """A site that changes nothing."""
    return load(defaults)
