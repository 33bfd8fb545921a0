"""Plans of a site's hosts as text, JSON and Markdown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from stack.pyinfra.runs import HostPlan


class Exit(IntEnum):
    """What every command ends with. ``DRIFT`` is only said by ``drift``."""

    OK = 0
    ERROR = 1
    DRIFT = 2


def outcome(plans: Sequence[HostPlan]) -> Exit:
    """``ERROR`` when a host could not be looked at, ``DRIFT`` when one differs, else ``OK``."""
    if any(plan.error for plan in plans):
        return Exit.ERROR
    return Exit.DRIFT if any(plan.steps for plan in plans) else Exit.OK


def as_text(plans: Sequence[HostPlan]) -> str:
    """Per host the steps as a deploy shows them."""
    return "\n\n".join(f"{plan.host}: {_summary(plan)}{_details(plan)}" for plan in plans)


def _summary(plan: HostPlan) -> str:
    if plan.error:
        return "could not be looked at"
    if not plan.steps:
        return "nothing to change"
    subjects = len({step.subject for step in plan.steps})
    return f"{_number(len(plan.steps), 'step')} on {_number(subjects, 'subject')}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _details(plan: HostPlan) -> str:
    text = plan.error or "\n".join((*map(str, plan.steps), *plan.notes))
    return "".join(f"\n    {line}" for line in text.splitlines())


def as_json(site: str, plans: Sequence[HostPlan]) -> dict[str, Any]:
    """The report as one document; ``at`` is the time of the look in UTC."""
    return {
        "site": site,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "outcome": outcome(plans).name.lower(),
        "hosts": [
            {
                "host": plan.host,
                "error": plan.error or None,
                "steps": [
                    {
                        "subject": step.subject,
                        "action": step.action,
                        "target": step.target or None,
                        "cause": step.cause,
                        "changes": [change.shown for change in step.changes],
                    }
                    for step in plan.steps
                ],
                "notes": list(plan.notes),
            }
            for plan in plans
        ],
    }


def as_markdown(site: str, plans: Sequence[HostPlan]) -> str:
    """The report for people: a merge request, an issue, a mail."""
    verdict = {
        Exit.OK: "No drift.",
        Exit.DRIFT: "**Drift**: a deploy would change what follows.",
        Exit.ERROR: "**Error**: not every host could be looked at.",
    }
    parts = [f"# Drift of {site}", verdict[outcome(plans)]]
    for plan in plans:
        parts.append(f"## {plan.host}: {_summary(plan)}")
        if plan.error:
            parts.append(f"```\n{plan.error}\n```")
        if plan.steps:
            rows = ["| subject | action | cause | field | before | after |", "| --- " * 6 + "|"]
            for step in plan.steps:
                about = (step.subject, f"{step.action} {step.target}".strip(), step.cause)
                for change in [tuple(change.shown.values()) for change in step.changes] or [
                    ("", "", "")
                ]:
                    rows.append("| " + " | ".join(map(_cell, (*about, *change))) + " |")
            parts.append("\n".join(rows))
        parts += plan.notes
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
