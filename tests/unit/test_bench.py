"""What the bench tells compose and Ansible, and the figures it prints."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.ansible import playbook
from bench.compose import compose_file
from bench.report import BEGIN, END, comparison, write
from bench.rounds import Sample, visits
from bench.tools import Tool
from stack.docker.spec import Desired
from stack.site import Site
from stack.topology import desired


@pytest.fixture
def wanted(site: Site) -> Desired:
    return desired(site)


def test_compose_has_every_container_with_its_dollars_escaped(wanted: Desired) -> None:
    document = compose_file(wanted)
    assert list(document["services"]) == [container.name for container in wanted.containers]
    command = " ".join(document["services"]["node-exporter"]["command"])
    assert "($$|/)" in command
    assert command.replace("$$", "$") == " ".join(wanted.container("node-exporter").command or ())
    assert {volume["external"] for volume in document["volumes"].values()} == {True}


def module(tasks: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(
        options
        for task in tasks
        if (options := task.get("community.docker.docker_container")) and options["name"] == name
    )


def test_ansible_gets_an_image_by_tag_or_by_digest(wanted: Desired) -> None:
    pinned = replace(wanted.containers[0], image="10.0.0.1:5000/a/b:1@sha256:0123")
    tasks = playbook(replace(wanted, containers=(pinned, *wanted.containers[1:])), tuned=True)[0][
        "tasks"
    ]
    assert module(tasks, pinned.name)["image"] == "10.0.0.1:5000/a/b@sha256:0123"
    assert module(tasks, "webbot2")["image"] == wanted.container("webbot2").image


def test_only_the_host_s_pid_namespace_is_compared_less_than_strictly(wanted: Desired) -> None:
    tasks = playbook(wanted, tuned=True)[0]["tasks"]
    for container in wanted.containers:
        strict = module(tasks, container.name)["comparisons"] == {"*": "strict"}
        assert strict is not (container.pid_mode == "host")


def test_both_give_the_gpu_to_the_containers_that_have_it(wanted: Desired) -> None:
    on_gpu = {each.name for each in wanted.containers if each.runtime == "nvidia"}
    services, tasks = compose_file(wanted)["services"], playbook(wanted, tuned=True)[0]["tasks"]
    assert on_gpu
    assert {name for name in services if services[name].get("runtime") == "nvidia"} == on_gpu
    assert {name for name in services if module(tasks, name).get("runtime") == "nvidia"} == on_gpu


def tool(name: str) -> Tool:
    return Tool(name, "1", ["true"], {})


def test_the_table_has_medians_spreads_and_ratios() -> None:
    samples = [
        *(Sample("a", "nothing", seconds, None, True) for seconds in (3.0, 1.0, 2.0)),
        *(Sample("b", "nothing", seconds, None, True) for seconds in (20.0, 21.0, 22.0)),
        Sample("a", "removed", 2.0, 2.5, True),
        Sample("b", "removed", 1.0, None, False),
    ]
    lines = comparison([tool("a"), tool("b")], samples).splitlines()
    assert lines[2] == "| nothing | 2.00 s (1.00–3.00) | 21.00 s (20.00–22.00) | 1 : 10.5 |"
    assert lines[3].endswith("| 1.00 s (1.00–1.00) **not repaired** | 1 : 0.5 |")
    assert lines[4] == "| … until it serves | 2.50 s (2.50–2.50) | - | 1 : - |"


def test_tools_take_their_turns_there_and_back() -> None:
    assert [each.name for each in visits([tool("a"), tool("b")])] == ["a", "b", "b", "a"]


def test_only_the_figures_of_the_page_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(page, "new")
    write(page, "newer")
    assert page.read_text() == f"before\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"
