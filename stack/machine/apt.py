"""Repositories whose key is pinned, and packages that stay at the version they have to have."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stack.machine.files import HostFile, file_tasks
from stack.machine.observe import MARK, Machine
from stack.tasks import Task, changed

# unattended-upgrades may hold the lock for minutes. needrestart would restart Docker by itself.
_APT = (
    "env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y"
    " -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold"
)
UPDATE = f"{_APT} update"
INSTALL = f"{_APT} install --no-install-recommends --allow-downgrades"


@dataclass(frozen=True)
class Repository:
    """A repository of a vendor. ``suite`` is what follows the URL in apt's notation.

    ``setting`` is the path of the site value that holds the fingerprint of its key.
    """

    name: str
    url: str
    suite: str
    key_url: str
    fingerprint: str
    setting: str

    @property
    def key(self) -> str:
        return f"/etc/apt/keyrings/{MARK}-{self.name}.asc"

    @property
    def source(self) -> HostFile:
        return HostFile(
            f"/etc/apt/sources.list.d/{MARK}-{self.name}.list",
            f"deb [arch=amd64 signed-by={self.key}] {self.url} {self.suite}\n",
        )


@dataclass(frozen=True)
class PackageSet:
    """Packages that are installed together and held: name to version, empty for any version.

    ``preferences`` keeps apt at those versions when something else is installed.
    """

    name: str
    packages: Mapping[str, str]
    preferences: str = ""

    @property
    def preferences_file(self) -> HostFile:
        return HostFile(f"/etc/apt/preferences.d/{MARK}-{self.name}", self.preferences)


def repository_tasks(machine: Machine, repository: Repository) -> Iterator[Task]:
    """The key, taken only when it has the pinned fingerprint, and the source that it signs."""
    found = machine.keys.get(repository.key, ())
    if found != (repository.fingerprint,):
        yield Task(
            f"file {repository.key}",
            "take the key",
            "another key" if found else "not found",
            (_take_key(repository),),
            changed({"key": " ".join(found)} if found else {}, {"key": repository.fingerprint}),
        )
    yield from file_tasks(machine, (repository.source,))


def _take_key(repository: Repository) -> str:
    url, key, wanted = repository.key_url, repository.key, repository.fingerprint
    return (
        "h=$(mktemp -d) && trap 'rm -rf \"$h\"' EXIT &&"
        f' curl -fsSL --retry 3 -m 60 -o "$h/key" {shlex.quote(url)} &&'
        ' found=$(gpg --homedir "$h" --batch --show-keys --with-colons "$h/key" 2>/dev/null |'
        ' awk -F: \'$1 == "pub" { p = 1 } $1 == "fpr" && p { print $10; p = 0 }\') &&'
        f' if [ "$found" != {wanted} ]; then'
        f' echo "{repository.setting}: {url} holds the key $found, not {wanted}" >&2; exit 1; fi &&'
        f' install -D -m 0644 "$h/key" {key}'
    )


def package_tasks(machine: Machine, wanted: PackageSet) -> Iterator[Task]:
    """Install what is missing or has another version and hold all, or hold what is not held.

    The set is released only for the installation, and held again when that fails.
    """
    if wanted.preferences:
        yield from file_tasks(machine, (wanted.preferences_file,))
    subject = f"packages {wanted.name}"
    before = {name: machine.version(name) for name in wanted.packages if machine.version(name)}
    after = {
        name: version or before.get(name, "any version")
        for name, version in wanted.packages.items()
    }
    names = shlex.join(sorted(wanted.packages))
    if changes := changed(before, after):
        pinned = shlex.join(
            f"{name}={version}" if version else name
            for name, version in sorted(wanted.packages.items())
        )
        install = (
            f"apt-mark unhold {names} >/dev/null 2>&1; {INSTALL} {pinned}; status=$?;"
            f" apt-mark hold {names} >/dev/null; exit $status"
        )
        cause = "not found" if not before else "differs"
        yield Task(subject, "install and hold", cause, (UPDATE, install), changes)
    elif loose := sorted(name for name in wanted.packages if not machine.packages[name].held):
        yield Task(subject, "hold", "not held", (f"apt-mark hold {shlex.join(loose)} >/dev/null",))


@dataclass(frozen=True)
class AptSource:
    """Where apt finds a component: a line of a ``.list`` file or a stanza of a ``.sources`` one."""

    release: str
    component: str
    file: str
    entry: str = ""

    def for_component(self, component: str) -> str:
        """The same entry, key and all, for another component."""
        if self.file.endswith(".sources"):
            return re.sub(r"(?m)^Components:.*$", f"Components: {component}", self.entry)
        return re.sub(r"^(deb\s+(?:\[[^]]*\]\s+)?\S+\s+\S+)\s.*", rf"\1 {component}", self.entry)


def contrib_tasks(machine: Machine, sources: Iterable[AptSource]) -> Iterator[Task]:
    """Component contrib of Debian from where main comes from; nothing where the host has it
    already, or is no Debian."""
    theirs = [s for s in sources if s.release == machine.codename and MARK not in s.file]
    main = next((source for source in theirs if source.component == "main"), None)
    has_contrib = any(source.component == "contrib" for source in theirs)
    if main and not has_contrib and machine.system.startswith("debian"):
        path = f"/etc/apt/sources.list.d/{MARK}-contrib.{main.file.rpartition('.')[2]}"
        yield from file_tasks(machine, (HostFile(path, main.for_component("contrib")),))


def missing_tasks(machine: Machine, names: Iterable[str]) -> Iterator[Task]:
    """Install packages of the distribution that are missing, at whatever version it has."""
    if missing := sorted(set(names) - machine.packages.keys()):
        listed = shlex.join(missing)
        yield Task(f"packages {listed}", "install", "not found", (UPDATE, f"{INSTALL} {listed}"))
