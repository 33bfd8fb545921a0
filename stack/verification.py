"""The verification of a deployed site: pytest's own run of tests/verify, and a summary of it."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree


def verify(site: str, root: Path, inventory: Path, junit: Path, arguments: Sequence[str]) -> int:
    """Run the tests on ``site``, showing them as they pass; returns pytest's exit status.

    ``junit`` receives the results as JUnit XML.
    """
    command = [
        *(sys.executable, "-m", "pytest", str(root / "tests/verify"), "--site", site, "-q"),
        *("--rootdir", str(root), "--no-header", "--tb=short", "-r", "N"),
        *("-p", "no:warnings", "-p", "no:asyncio"),
        *("--inventory", str(inventory), f"--junitxml={junit}", *arguments),
    ]
    search = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": search}, check=False
    ).returncode


def summary(junit: Path) -> Iterator[str]:
    """Lines that say what passed, by subject, and each failure in one line."""
    outcomes: dict[str, Counter[str]] = {}
    failures = []
    for case in ElementTree.parse(junit).iter("testcase"):
        subject = case.get("classname", "").rpartition("test_")[2] or case.get("name", "")
        outcome = _outcome(case)
        outcomes.setdefault(subject, Counter())[outcome] += 1
        if outcome == "failed":
            failures.append(f"  {subject}: {_title(case)}: {_reason(case)}")
    width = max(map(len, outcomes), default=0)
    for subject, counts in outcomes.items():
        words = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
        yield f"{'FAILED' if counts['failed'] else 'ok':<7} {subject:<{width}}  {words}"
    if failures:
        yield ""
        yield from failures


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def _title(case: ElementTree.Element) -> str:
    return case.get("name", "").removeprefix("test_").replace("_", " ")


def _reason(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        if (problem := case.find(kind)) is not None:
            return (problem.get("message") or "no message").splitlines()[0][:200]
    return ""
