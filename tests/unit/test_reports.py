"""Reports of plans: the same facts as text, JSON and Markdown, and the exit status."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: pyinfra replaces Python's threads and sockets when it is imported.
SCRIPT = """
import json
from stack import reports
from stack.docker.plan import Action, Change, Step
from stack.pyinfra.runs import HostPlan

memory = Step(
    "container grafana_new", Action.REPLACE, "differs",
    (Change("memory", "1g", "2g"), Change("command", "a | b", "-")),
)
pull = Step("container grafana_new", Action.PULL, "not found", target="grafana:2")
same, other = HostPlan("one"), HostPlan("two", (pull, memory), notes=("memory: a note",))
note = HostPlan("four", notes=("memory: a note",))
lost = HostPlan("three", error="cannot be reached: no route")
document = reports.as_json("course", [same, other, lost])
document.pop("at")
print(json.dumps({
    "outcomes": [
        int(reports.outcome([same])), int(reports.outcome([same, other])),
        int(reports.outcome([other, lost])), int(reports.outcome([note])),
    ],
    "text": reports.as_text([same, other, lost]),
    "markdown": reports.as_markdown("course", [same, other, lost]),
    "json": document,
}))
"""


def test_reports() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, capture_output=True, text=True
    )
    said = json.loads(run.stdout)
    assert said["outcomes"] == [0, 2, 1, 0]
    assert said["text"].splitlines() == [
        "one: nothing to change",
        "",
        "two: 2 steps on 1 subject",
        "    container grafana_new: pull the image grafana:2 (not found)",
        "    container grafana_new: replace the container (differs)",
        "        memory: 1g -> 2g",
        "        command: a | b -> -",
        "    memory: a note",
        "",
        "three: could not be looked at",
        "    cannot be reached: no route",
    ]
    rows = [line for line in said["markdown"].splitlines() if line.startswith("| container")]
    assert rows == [
        "| container grafana_new | pull the image grafana:2 | not found |  |  |  |",
        "| container grafana_new | replace the container | differs | memory | 1g | 2g |",
        "| container grafana_new | replace the container | differs | command | a \\| b | - |",
    ]
    assert "**Error**" in said["markdown"]
    assert "memory: a note" in said["markdown"].splitlines()
    assert [host["notes"] for host in said["json"]["hosts"]] == [[], ["memory: a note"], []]
    assert said["json"]["outcome"] == "error"
    assert [host["host"] for host in said["json"]["hosts"]] == ["one", "two", "three"]
    assert said["json"]["hosts"][1]["steps"][1]["changes"][0] == {
        "field": "memory",
        "before": "1g",
        "after": "2g",
    }
    assert said["json"]["hosts"][2]["error"] == "cannot be reached: no route"
