"""A new site: what is written loads, says the defaults, and never replaces anything."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from stack.newsite import new_site
from stack.site import SiteError, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/all.py").symlink_to(ROOT / "group_data/all.py")
    (tmp_path / "inventory.py").write_text((ROOT / "inventory.py").read_text())
    return tmp_path


def values(path: Path) -> dict[str, Any]:
    return {name: value for name, value in runpy.run_path(str(path)).items() if name[:2] != "__"}


def test_a_new_site_is_as_the_defaults(checkout: Path, defaults: dict[str, Any]) -> None:
    data, inventory = new_site("course", "gpu1.example.org", "root", checkout)
    assert values(data) == {"ssh_user": "root"}
    assert load(defaults, values(data)) == load(defaults)
    assert values(inventory) == {**values(ROOT / "inventory.py"), "course": ["gpu1.example.org"]}


def test_what_is_commented_out_is_the_defaults(checkout: Path, defaults: dict[str, Any]) -> None:
    data, _ = new_site("course", "gpu1.example.org", "root", checkout)
    data.write_text(re.sub(r"^#(?! )|^#(?= +[^ ])(?=    )", "", data.read_text(), flags=re.M))
    stated = values(data)
    assert stated.keys() >= {"gpu", "services", "networks", "saiga", "embedder", "postgres"}
    assert load(defaults, stated) == load(defaults)


def test_another_user_becomes_root_by_sudo(checkout: Path) -> None:
    data, _ = new_site("course", "gpu1.example.org", "deploy", checkout)
    assert values(data) == {"ssh_user": "deploy", "_sudo": True}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lab", "group_data/lab.py exists; choose another name or edit it"),
        ("other", "inventory.py has other already; choose another name or edit it"),
        ("all", "all names what all sites have in common; choose another name"),
        (
            "my-site",
            "'my-site' cannot name a site; use letters, digits and _, beginning with a letter",
        ),
        ("class", "'class' cannot name a site; use letters, digits and _, beginning with a letter"),
    ],
)
def test_nothing_is_overwritten(checkout: Path, name: str, sentence: str) -> None:
    (checkout / "group_data/lab.py").write_text("gpu = 'none'\n")
    with (checkout / "inventory.py").open("a") as inventory:
        inventory.write("other = ['192.0.2.1']\n")
    before = {path: path.read_text() for path in checkout.rglob("*.py")}
    with pytest.raises(SiteError) as caught:
        new_site(name, "192.0.2.2", "root", checkout)
    assert str(caught.value) == sentence
    assert {path: path.read_text() for path in checkout.rglob("*.py")} == before
