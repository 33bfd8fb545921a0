"""Carrying out a plan on one host, through the few things a :class:`Remote` can do."""

import json
import shlex
import time
from collections.abc import Callable
from typing import Protocol

from stack.docker import commands
from stack.docker.observe import (
    ADOPTED_DIR,
    ASIDE_SUFFIX,
    IMAGES_DIR,
    LOADED_DIR,
    Observed,
    image_record,
)
from stack.docker.plan import Action, Plan, Step, plan
from stack.docker.spec import ConfigFile, Container, Desired

POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
CRASHES_TO_FAIL = 3
AUDIT_LOG = "/var/log/saiga-stack/audit.jsonl"


class RemoteError(RuntimeError):
    """A command on the host failed; the message carries its last lines of output."""


class ApplyError(RuntimeError):
    """A step could not be carried out; the message says what stands now."""


class Remote(Protocol):
    """The host, as far as applying a plan needs it."""

    def run(self, script: str) -> str:
        """Run a shell script; returns its standard output. Raises RemoteError."""

    def put(self, content: bytes, path: str) -> None:
        """Write a file on the host, readable by root only. Raises RemoteError."""

    def observe(self) -> Observed:
        """The host as it is now."""

    def context(self, container: Container) -> bytes:
        """The tar archive from which the image of ``container`` is built."""

    def say(self, text: str) -> None:
        """Show a line of progress to the operator."""


def apply(remote: Remote, desired: Desired, subject: str, adopt: bool = False) -> Plan:
    """Bring one subject (``container NAME``, ...) to what is desired; returns the steps taken.

    Images are fetched first and the host is observed again, because the defaults of an image are
    known only then. Raises ApplyError; raises Refusal as :func:`stack.docker.plan.plan` does.
    """
    worker = _Worker(remote, desired)
    taken: list[Step] = []
    steps = plan(desired, worker.observed, adopt).about(subject).steps
    fetches = [step for step in steps if step.action in (Action.PULL, Action.BUILD)]
    if fetches:
        for step in fetches:
            worker.do(step)
            taken.append(step)
        worker.observed = remote.observe()
        steps = plan(desired, worker.observed, adopt).about(subject).steps
    for step in steps:
        worker.do(step)
        taken.append(step)
    return Plan(tuple(taken))


def _quote(*words: str) -> str:
    return shlex.join(words)


class _Worker:
    def __init__(self, remote: Remote, desired: Desired) -> None:
        self.remote = remote
        self.desired = desired
        self.observed = remote.observe()
        self.written: list[str] = []
        self.actions: dict[Action, Callable[[Step], None]] = {
            Action.CREATE_NETWORK: self.create_network,
            Action.RECREATE_NETWORK: self.recreate_network,
            Action.RELEASE: self.release,
            Action.REMOVE: self.remove,
            Action.CREATE_VOLUME: self.create_volume,
            Action.ADOPT_VOLUME: self.adopt_volume,
            Action.PULL: self.pull,
            Action.BUILD: self.build,
            Action.WRITE: self.write,
            Action.RETURN: self.return_aside,
            Action.CREATE: self.create,
            Action.REPLACE: self.replace,
            Action.FINISH: self.finish,
            Action.UPDATE: self.update,
            Action.DISCONNECT: self.disconnect,
            Action.CONNECT: self.connect,
            Action.UNPAUSE: self.unpause,
            Action.START: self.start,
            Action.RESTART: self.restart,
            Action.RELOAD: self.reload,
        }

    def do(self, step: Step) -> None:
        for line in str(step).splitlines():
            self.remote.say(line)
        try:
            self.actions[step.action](step)
        except RemoteError as error:
            raise ApplyError(f"{step.subject}: could not {step.action}: {error}") from None
        self._audit(step)

    def _audit(self, step: Step) -> None:
        record = {
            "subject": step.subject,
            "action": str(step.action),
            "target": step.target,
            "cause": step.cause,
            "changes": [str(change) for change in step.changes],
        }
        line = json.dumps(record, ensure_ascii=False)[1:]
        folder = AUDIT_LOG.rpartition("/")[0]
        self.remote.run(
            f'mkdir -p -m 0750 {folder} && printf \'{{"at": "%s", "from": "%s", %s\\n\''
            f' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${{SSH_CLIENT%% *}}" {shlex.quote(line)}'
            f" >> {AUDIT_LOG}"
        )

    def _container(self, step: Step) -> Container:
        return self.desired.container(step.subject.removeprefix("container "))

    # Networks and volumes

    def _network(self, step: Step) -> str:
        name = step.subject.removeprefix("network ")
        network = next(network for network in self.desired.networks if network.name == name)
        return _quote(*commands.create_network(network))

    def create_network(self, step: Step) -> None:
        self.remote.run(self._network(step))

    def recreate_network(self, step: Step) -> None:
        name = step.subject.removeprefix("network ")
        attached = {
            container: document
            for container, document in self.observed.containers.items()
            if name in (document["NetworkSettings"]["Networks"] or {})
        }
        lines = [_quote(*commands.disconnect(container, name)) for container in attached]
        lines += [f"docker network rm {name}", self._network(step)]
        for container in self.desired.containers:
            for attachment in container.attachments:
                if attachment.network == name and container.name in attached:
                    lines.append(_quote(*commands.connect(container.name, attachment)))
        self.remote.run("set -e\n" + "\n".join(lines))

    def release(self, step: Step) -> None:
        network = step.subject.removeprefix("network ")
        self.remote.run(_quote(*commands.disconnect(step.target, network)))

    def remove(self, step: Step) -> None:
        self.remote.run(f"docker stop {step.target} >/dev/null; docker rm --force {step.target}")

    def create_volume(self, step: Step) -> None:
        self.remote.run(_quote(*commands.create_volume(step.subject.removeprefix("volume "))))

    def adopt_volume(self, step: Step) -> None:
        name = step.subject.removeprefix("volume ")
        self.remote.run(f"mkdir -p {ADOPTED_DIR} && touch {ADOPTED_DIR}/{name}")

    # Images

    def pull(self, step: Step) -> None:
        reference = shlex.quote(step.target)
        record = image_record(step.target)
        self.remote.run(
            f"docker pull --quiet {reference} >/dev/null && mkdir -p {IMAGES_DIR} &&"
            f" docker image inspect --format '{{{{.Id}}}}' {reference} > {record}"
        )

    def build(self, step: Step) -> None:
        container = self._container(step)
        archive = f"/var/lib/saiga-stack/build-{container.name}.tar"
        self.remote.run("mkdir -p /var/lib/saiga-stack")
        self.remote.put(self.remote.context(container), archive)
        build = _quote(*commands.build(container, archive))
        self.remote.run(f"{build} && rm -f {archive}")

    # Files

    def write(self, step: Step) -> None:
        container = self._container(step)
        file = next(file for file in container.files if file.path == step.target)
        self._write(container, file)

    def _write(self, container: Container, file: ConfigFile) -> None:
        path, temporary = shlex.quote(file.path), shlex.quote(f"{file.path}.new")
        folder, loaded = shlex.quote(file.path.rpartition("/")[0]), f"{LOADED_DIR}/{container.name}"
        self.remote.run(f"mkdir -p {folder} && rm -f {loaded}")
        self.remote.put(file.content.encode(), f"{file.path}.new")
        self.remote.run(
            f"chown {file.owner} {temporary} && chmod {file.mode} {temporary} &&"
            f" {{ [ ! -f {path} ] || cp -a {path} {path}.previous; }} && mv {temporary} {path}"
        )
        self.written.append(file.path)

    def _restore_files(self) -> None:
        for path in map(shlex.quote, self.written):
            self.remote.run(f"[ ! -f {path}.previous ] || mv {path}.previous {path}")

    def _forget_previous_files(self) -> str:
        return " ".join(shlex.quote(f"{path}.previous") for path in self.written)

    # Containers

    def create(self, step: Step) -> None:
        container = self._container(step)
        create = "\n".join(_quote(*argv) for argv in commands.create_container(container))
        self.remote.run(f"set -e\n{create}")
        self._start_and_prove(container)

    def replace(self, step: Step) -> None:
        container = self._container(step)
        name, aside = container.name, container.name + ASIDE_SUFFIX
        if aside in self.observed.containers:
            self.remote.run(f"docker rm --force {name} >/dev/null")
        else:
            self.remote.run(f"docker rename {name} {aside}")
        try:
            create = "\n".join(_quote(*argv) for argv in commands.create_container(container))
            self.remote.run(f"set -e\n{create}\ndocker stop {aside} >/dev/null")
            self._start_and_prove(container)
        except (RemoteError, ApplyError) as error:
            raise self._returned(container, error) from None
        self.remote.run(f"docker rm --force {aside} >/dev/null")

    def finish(self, step: Step) -> None:
        container = self._container(step)
        aside = container.name + ASIDE_SUFFIX
        try:
            self.remote.run(f"docker stop {aside} >/dev/null")
            self._start_and_prove(container)
        except (RemoteError, ApplyError) as error:
            raise self._returned(container, error) from None
        self.remote.run(f"docker rm --force {aside} >/dev/null")

    def _returned(self, container: Container, error: Exception) -> ApplyError:
        """Put the container set aside back in place; the error that says so."""
        name, aside = container.name, container.name + ASIDE_SUFFIX
        diagnosis = self._diagnosis(name)
        self._restore_files()
        self.remote.run(
            f"docker rm --force {name} >/dev/null 2>&1; docker rename {aside} {name} &&"
            f" docker start {name} >/dev/null"
        )
        return ApplyError(
            f"container {name}: the new one was taken back ({error}); the old one,"
            f" {self._short_id(name)}, runs again\n{diagnosis}"
        )

    def _short_id(self, name: str) -> str:
        return self.remote.run(f"docker inspect --format '{{{{.Id}}}}' {name}").strip()[:12]

    def return_aside(self, step: Step) -> None:
        name = self._container(step).name
        self.remote.run(f"docker rename {name}{ASIDE_SUFFIX} {name}")

    def update(self, step: Step) -> None:
        fields = {change.field for change in step.changes}
        self.remote.run(_quote(*commands.update(self._container(step), fields)))

    def disconnect(self, step: Step) -> None:
        name = self._container(step).name
        self.remote.run(_quote(*commands.disconnect(name, step.target)))

    def connect(self, step: Step) -> None:
        container = self._container(step)
        attachment = next(a for a in container.attachments if a.network == step.target)
        document = self.observed.containers.get(container.name, {})
        attached = step.target in (document.get("NetworkSettings", {}).get("Networks") or {})
        disconnect = _quote(*commands.disconnect(container.name, step.target))
        connect = _quote(*commands.connect(container.name, attachment))
        self.remote.run(f"{disconnect} 2>/dev/null; {connect}" if attached else connect)

    def unpause(self, step: Step) -> None:
        self.remote.run(f"docker unpause {self._container(step).name} >/dev/null")

    def start(self, step: Step) -> None:
        self._start_and_prove(self._container(step))

    def restart(self, step: Step) -> None:
        container = self._container(step)
        self.remote.run(f"docker restart {container.name} >/dev/null")
        self._prove(container)

    def reload(self, step: Step) -> None:
        container = self._container(step)
        assert container.reload is not None
        self.remote.run(container.reload)
        self._prove(container)

    def _start_and_prove(self, container: Container) -> None:
        self.remote.run(f"docker start {container.name} >/dev/null")
        self._prove(container)

    def _prove(self, container: Container) -> None:
        """Wait until the gate passes; fail early when the container keeps ending."""
        if container.gate:
            self._wait_for_gate(container)
        record = f"{LOADED_DIR}/{container.name}"
        previous = self._forget_previous_files()
        self.remote.run(
            f"mkdir -p {LOADED_DIR} && echo \"$(docker inspect --format '{{{{.Id}}}}'"
            f' {container.name}) {container.files_hash}" > {record}'
            + (f" && rm -f {previous}" if previous else "")
        )

    def _wait_for_gate(self, container: Container) -> None:
        gate = container.gate
        assert gate is not None
        started = time.monotonic()
        said = started
        state_format = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}"
        script = (
            f"docker inspect --format '{state_format}' {container.name};"
            f" if {{ {gate.command}; }} >/dev/null 2>&1; then echo passed; else echo failed; fi"
        )
        while True:
            state, verdict = self.remote.run(script).splitlines()[-2:]
            status, exit_code, restarts = state.split()
            waited = time.monotonic() - started
            if verdict == "passed" and status == "running":
                return
            if status in ("exited", "dead") or int(restarts) >= CRASHES_TO_FAIL:
                raise ApplyError(
                    f"container {container.name} is {status}, exit code {exit_code}, after"
                    f" {restarts} restarts; it has to be one that {gate.title}"
                )
            if waited > gate.deadline:
                raise ApplyError(
                    f"container {container.name} is not yet one that {gate.title}"
                    f" after {waited:.0f} s (deadline {gate.deadline} s)"
                )
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                self.remote.say(
                    f"    waiting until {container.name} {gate.title}:"
                    f" {waited:.0f} s of {gate.deadline} s"
                )
            time.sleep(POLL_SECONDS)

    def _diagnosis(self, name: str) -> str:
        """Last log lines, health log and state of a container that failed."""
        health = "{{if .State.Health}}{{range .State.Health.Log}}{{.Output}}{{end}}{{end}}"
        return self.remote.run(
            f"echo '--- state'; docker inspect --format '{{{{json .State.Status}}}}"
            f" exit {{{{.State.ExitCode}}}} {{{{.State.Error}}}}' {name} 2>&1 || true;"
            f" echo '--- health log'; docker inspect --format '{health}' {name} 2>&1 | tail -5;"
            f" echo '--- last log lines'; docker logs --tail 30 {name} 2>&1 || true"
        ).strip()
