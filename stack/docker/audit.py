"""The audit log on the host: a line of JSON for every change, written before the change is made."""

import json
import shlex
from collections.abc import Iterable

from stack.docker.plan import Change, Step

AUDIT_LOG = "/var/log/saiga-stack/audit.jsonl"

# What was written although nothing changed: somebody looked at a secret.
SHOWN = "show"

# sudo takes SSH_CLIENT out of the environment; the process that called it still has it.
_APPEND = r"""
client=${SSH_CLIENT:-} process=$$
while [ -z "$client" ] && [ "${process:-0}" -gt 1 ]; do
    client=$(tr '\0' '\n' 2>/dev/null </proc/$process/environ | sed -n 's/^SSH_CLIENT=//p')
    process=$(sed 's/.*) //' /proc/$process/stat | cut -d' ' -f2)
done
mkdir -p -m 0750 %(folder)s &&
printf '{"at": "%%s", "from": "%%s", %%s\n' "$(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ)" \
    %(origin)s"${client:+ ${client%%%% *}}" %(rest)s >>%(log)s
"""


def audit_command(
    origin: str,
    subject: str,
    action: str,
    cause: str,
    target: str = "",
    changes: Iterable[Change] = (),
    failure: str = "",
) -> str:
    """A shell command that appends one line to the log.

    ``origin`` is who runs the deploy; the address of the connection is added on the host, as is the
    time (UTC). ``failure`` says why a change that has its line already was not made. Values that
    may be secret are hidden as in a plan.
    """
    record = {
        "subject": subject,
        "action": action,
        **({"target": target} if target else {}),
        "cause": cause,
        "changes": [change.shown for change in changes],
        **({"failure": failure} if failure else {}),
    }
    rest = json.dumps(record, ensure_ascii=False)[1:]
    values = {
        "folder": AUDIT_LOG.rpartition("/")[0],
        "log": AUDIT_LOG,
        "origin": shlex.quote(json.dumps(origin, ensure_ascii=False)[1:-1]),
        "rest": shlex.quote(rest),
    }
    return (_APPEND % values).strip()


def audit_step(origin: str, step: Step, failure: str = "") -> str:
    """The command that logs ``step``; see :func:`audit_command`."""
    return audit_command(
        origin, step.subject, str(step.action), step.cause, step.target, step.changes, failure
    )
