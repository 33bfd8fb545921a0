"""The documented options: complete, explained, and the same in the documentation."""

from pathlib import Path
from typing import Any

import pytest

from stack.schema import Option, as_markdown, sections

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = [*sections(ROOT / "group_data/all.py")]
OPTIONS = {option.path: option for section in SECTIONS for option in section.options}


def leaves(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            key: leaf
            for name, item in value.items()
            for key, leaf in leaves(item, f"{path}.{name}").items()
        }
    return {path: value}


def test_every_default_is_an_option(defaults: dict[str, Any]) -> None:
    known = {key: leaf for name in defaults for key, leaf in leaves(defaults[name], name).items()}
    assert {path: option.default for path, option in OPTIONS.items()} == known


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_every_option_explains_itself(section: Any) -> None:
    silent = [option.path for option in section.options if not option.meaning]
    assert section.meaning or not silent


def test_a_field_of_a_service_is_explained_at_the_first() -> None:
    assert "137" in OPTIONS["services.grafana.memory"].meaning
    assert OPTIONS["services.dcgm_exporter.enabled"].meaning.startswith("Needs a GPU")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("gpu", "'nvidia' or 'none'"),
        ("docker.registry_mirrors", "list of URL"),
        ("services.webbot2.ports.http.published", "port or None"),
        ("services.webbot2.addresses.agent_default", "IPv4 address"),
        ("services.webbot2.memory", "size such as 512m"),
        ("services.qdrant.aliases.agent_default", "list of name"),
        ("saiga.top_p", "number, more than 0, at most 1"),
        ("saiga.environment", "dictionary of text"),
        ("embedder.url", "URL or None"),
        ("prometheus.retention_time", "time such as 7d"),
    ],
)
def test_a_type_in_words(path: str, kind: str) -> None:
    assert OPTIONS[path].kind == kind


def test_an_example_where_the_default_says_too_little() -> None:
    assert OPTIONS["saiga.extra_arguments"] == Option(
        "saiga.extra_arguments",
        "list of text",
        [],
        "Further arguments and environment of vLLM, for another engine build.",
        ["--enforce-eager"],
    )


def test_the_documentation_is_up_to_date() -> None:
    written = (ROOT / "docs/configuration.md").read_text()
    assert written == as_markdown(SECTIONS), "run make docs"
