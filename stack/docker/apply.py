"""Carrying out a plan on one host, through the few things a :class:`Remote` can do."""

import re
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from stack.docker import commands, history
from stack.docker.audit import audit_command, audit_step
from stack.docker.daemon import RESTART, RESUME_HEALTH_CHECKS
from stack.docker.observe import (
    ADOPTED_DIR,
    ASIDE_SUFFIX,
    CHECK_DIR,
    IMAGES_DIR,
    LOADED_DIR,
    NEW_SUFFIX,
    PREVIOUS_SUFFIX,
    Observed,
    image_record,
)
from stack.docker.plan import Action, Plan, Step, plan
from stack.docker.spec import OWNER_LABEL, Container, Desired, Gate

# Where files go that a site does not have, under the path that they had.
SET_ASIDE_DIR = "/var/lib/saiga-stack/set-aside"
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
CRASHES_TO_FAIL = 3
TAKEN_PORT = re.compile(r"Bind for \S+:(\d+) failed: port is already allocated")
ENGINE_DEADLINE = 60
# What shows more of the host than could be seen before: the container under its own name, the
# defaults of an image. In the order in which they are done.
REVEALING = (Action.RETURN, Action.PULL, Action.BUILD)
# What a container's own check has to allow first.
CHECKED = frozenset(
    {
        *(Action.WRITE, Action.CREATE, Action.REPLACE, Action.FINISH, Action.UPDATE),
        *(Action.START, Action.RESTART, Action.RELOAD),
    }
)


class RemoteError(RuntimeError):
    """A command on the host failed; the message carries its last lines of output."""


class ApplyError(RuntimeError):
    """A step could not be carried out; the message says what stands now."""


class NotProvenError(RuntimeError):
    """A container did not pass its gate."""


class Remote(Protocol):
    """The host, as far as applying a plan needs it. ``origin`` names who applies it."""

    @property
    def origin(self) -> str: ...

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

    The host is observed again after each step that reveals more of it. Raises ApplyError; raises
    Refusal as :func:`stack.docker.plan.plan` does.
    """
    worker = _Worker(remote, desired)
    taken: list[Step] = []
    steps = plan(desired, worker.observed, adopt).about(subject).steps
    for action in REVEALING:
        for step in [step for step in steps if step.action is action]:
            worker.do(step)
            taken.append(step)
            worker.observe()
            steps = plan(desired, worker.observed, adopt).about(subject).steps
    if any(step.action in CHECKED for step in steps):
        worker.check(subject)
    for step in steps:
        worker.do(step)
        taken.append(step)
    worker.settle(subject)
    return Plan(tuple(taken))


def _quote(*words: str) -> str:
    return shlex.join(words)


def _previous(container: Container) -> str:
    """What stood there before the change under way, of all that a give-back restores, as globs."""
    folders = sorted({file.folder for file in container.start_files})
    files = (f"{shlex.quote(folder)}/*{PREVIOUS_SUFFIX}" for folder in folders)
    return " ".join((*files, _loaded(container) + PREVIOUS_SUFFIX))


def _loaded(container: Container) -> str:
    """Path of the host's note of which files the container loaded last."""
    return f"{LOADED_DIR}/{container.name}"


class _Worker:
    def __init__(self, remote: Remote, desired: Desired) -> None:
        self.remote = remote
        self.desired = desired
        self.observe()
        self.actions: dict[Action, Callable[[Step], None]] = {
            Action.CREATE_NETWORK: self.create_network,
            Action.RECREATE_NETWORK: self.recreate_network,
            Action.RELEASE: self.release,
            Action.REMOVE: self.remove,
            Action.REMOVE_NETWORK: self.remove_network,
            Action.CREATE_VOLUME: self.create_volume,
            Action.ADOPT_VOLUME: self.adopt_volume,
            Action.PULL: self.pull,
            Action.BUILD: self.build,
            Action.WRITE: self.write,
            Action.SET_FILE_ASIDE: self.set_file_aside,
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
            Action.PROVE: self.prove,
        }

    def observe(self) -> None:
        """See the host as it is now; a Docker that just restarts is waited for."""
        deadline = time.monotonic() + ENGINE_DEADLINE
        self.observed = self.remote.observe()
        while self.observed.engine is None:
            if time.monotonic() > deadline:
                raise ApplyError(f"Docker does not answer on the host (for {ENGINE_DEADLINE} s)")
            time.sleep(POLL_SECONDS)
            self.observed = self.remote.observe()

    def do(self, step: Step) -> None:
        for line in str(step).splitlines():
            self.remote.say(line)
        try:
            self.remote.run(audit_step(self.remote.origin, step))
            self._do(step)
        except (ApplyError, RemoteError) as error:
            failure = str(error).partition("\n")[0]
            with suppress(RemoteError):
                self.remote.run(audit_step(self.remote.origin, step, failure))
            raise

    def _do(self, step: Step) -> None:
        try:
            self.actions[step.action](step)
        except RemoteError as error:
            raise ApplyError(f"{step.subject}: could not {step.action}: {error}") from None
        except NotProvenError as error:
            name = self._container(step).name
            raise ApplyError(
                f"{step.subject}: {error}; it stays as it is\n{self._diagnosis(name)}"
            ) from None

    def check(self, subject: str) -> None:
        """Let the program itself say, before anything is changed, whether it would serve."""
        container = next(
            (c for c in self.desired.containers if subject == f"container {c.name}"), None
        )
        if container is None or container.check is None:
            return
        folder = f"{CHECK_DIR}/{container.name}"
        self.remote.run(f"rm -rf {folder} && mkdir -p {folder}")
        for file in container.start_files:
            self.remote.put(file.content.encode(), f"{folder}/{file.path.rpartition('/')[2]}")
        script = f"trap 'rm -rf {folder}' EXIT\nchmod -R a+rX {folder}\nset -- {folder}"
        try:
            self.remote.run(f"{script}\n{container.check}")
        except RemoteError as error:
            raise ApplyError(f"{subject}: nothing was changed: {error}") from None

    def settle(self, subject: str) -> None:
        """The subject is as it has to be: forget what would undo the change, note what it is."""
        for container in self.desired.containers:
            if subject == f"container {container.name}":
                previous, loaded = _previous(container), _loaded(container)
                # A file that was put right before the container read it took the note aside.
                proven = f"[ -e {loaded} ] || mv {loaded}{PREVIOUS_SUFFIX} {loaded} 2>/dev/null"
                serving = f"mkdir -p -m 0700 {history.SERVING_DIR}"
                self.remote.run(f"{proven}; rm -f {previous}; {serving}")
                new = f"{history.serving(container.name)}{NEW_SUFFIX}"
                self.remote.put(history.note(container).encode(), new)
                self.remote.run(history.keep_note(container.name, new))

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
        attached, lines = self._removal(name)
        lines.append(self._network(step))
        for container in self.desired.containers:
            for attachment in container.attachments:
                for ours in (container.name, container.name + ASIDE_SUFFIX):
                    if attachment.network == name and ours in attached:
                        lines.append(_quote(*commands.connect(ours, attachment)))
        self.remote.run("set -e\n" + "\n".join(lines))

    def release(self, step: Step) -> None:
        network = step.subject.removeprefix("network ")
        self.remote.run(_quote(*commands.disconnect(step.target, network)))

    def remove(self, step: Step) -> None:
        self.remote.run(f"docker stop {step.target} >/dev/null; docker rm --force {step.target}")

    def remove_network(self, step: Step) -> None:
        _, lines = self._removal(step.target)
        self.remote.run("\n".join(["set -e", *lines]))

    def _removal(self, network: str) -> tuple[list[str], list[str]]:
        """The containers in a network, and the commands that detach them and remove it."""
        attached = [
            container
            for container, document in self.observed.containers.items()
            if network in (document["NetworkSettings"]["Networks"] or {})
        ]
        lines = [_quote(*commands.disconnect(container, network)) for container in attached]
        return attached, [*lines, f"docker network rm {network}"]

    def create_volume(self, step: Step) -> None:
        self.remote.run(_quote(*commands.create_volume(step.subject.removeprefix("volume "))))

    def adopt_volume(self, step: Step) -> None:
        name = step.subject.removeprefix("volume ")
        self.remote.run(f"mkdir -p {ADOPTED_DIR} && touch {ADOPTED_DIR}/{name}")

    # Images

    def pull(self, step: Step) -> None:
        pull = f"docker pull --quiet {shlex.quote(step.target)} >/dev/null"
        self.remote.run(f"{pull} && {self._record_image(step.target)}")

    @staticmethod
    def _record_image(reference: str) -> str:
        inspect = f"docker image inspect --format '{{{{.Id}}}}' {shlex.quote(reference)}"
        return f"mkdir -p {IMAGES_DIR} && {inspect} > {image_record(reference)}"

    def build(self, step: Step) -> None:
        if self._tag_again(step.target):
            return
        container = self._container(step)
        archive = f"/var/lib/saiga-stack/build-{container.name}.tar"
        self.remote.run("mkdir -p /var/lib/saiga-stack && rm -f /var/lib/saiga-stack/build-*.tar")
        self.remote.put(self.remote.context(container), archive)
        build = _quote(*commands.build(container, archive))
        self.remote.run(
            f"trap 'rm -f {archive}' EXIT\n{build} >/dev/null && {self._record_image(step.target)}"
        )

    def _tag_again(self, reference: str) -> bool:
        """Give the image that was built for this tag its tag back, if it is still there."""
        tag = f'docker tag "$(cat {image_record(reference)})" {shlex.quote(reference)}'
        return bool(self.remote.run(f"if {tag} 2>/dev/null; then echo tagged; fi").strip())

    # Files

    def write(self, step: Step) -> None:
        container = self._container(step)
        file = next(file for file in container.files if file.path == step.target)
        path, temporary = shlex.quote(file.path), shlex.quote(file.path + NEW_SUFFIX)
        self.remote.run(f"mkdir -p {shlex.quote(file.folder)}")
        self.remote.put(file.content.encode(), file.path + NEW_SUFFIX)
        keep = ""
        if not file.live and (not step.changes or "content" in {c.field for c in step.changes}):
            keep = f" && {self._keep(container, file.path)}"
        self.remote.run(
            f"chown {file.owner} {temporary} && chmod {file.mode} {temporary}{keep}"
            f" && mv {temporary} {path}"
        )

    def set_file_aside(self, step: Step) -> None:
        container = self._container(step)
        folder = step.target.rpartition("/")[0]
        keep = ""
        if folder in {file.folder for file in container.start_files}:
            keep = f"{self._keep(container, step.target)} && "
        aside = shlex.quote(SET_ASIDE_DIR + folder)
        move = f"mv --backup=numbered {shlex.quote(step.target)} {aside}/"
        self.remote.run(f"{keep}mkdir -p -m 0700 {SET_ASIDE_DIR} && mkdir -p {aside} && {move}")

    @staticmethod
    def _keep(container: Container, path: str) -> str:
        """A command that keeps what stands there until the container is seen to work without it.

        The copy of an interrupted change is the older one: that of the last proven content.
        """
        loaded, quoted = _loaded(container), shlex.quote(path)
        previous = quoted + PREVIOUS_SUFFIX
        return (
            f"{{ [ -L {previous} ] || [ -e {previous} ] ||"
            f" if [ -e {quoted} ]; then cp -a {quoted} {previous};"
            f" else ln -s /dev/null {previous}; fi; }} &&"
            f" {{ [ ! -f {loaded} ] || mv {loaded} {loaded}{PREVIOUS_SUFFIX}; }}"
        )

    def _restore_files(self, container: Container) -> None:
        self.remote.run(
            f"for previous in {_previous(container)}; do path=${{previous%{PREVIOUS_SUFFIX}}};"
            ' if [ -L "$previous" ]; then rm -f "$previous" "$path";'
            ' elif [ -e "$previous" ]; then mv "$previous" "$path"; fi; done'
        )

    # Containers

    def create(self, step: Step) -> None:
        container = self._container(step)
        create = "\n".join(_quote(*argv) for argv in commands.create_container(container))
        self.remote.run(f"set -e\n{create}")
        self._start_and_prove(container)

    def replace(self, step: Step) -> None:
        container = self._container(step)
        name, aside = container.name, container.name + ASIDE_SUFFIX
        if aside in self.observed.containers and not self._works(container):
            self.remote.run(f"docker rm --force {name} >/dev/null")
        else:
            # The one that works was proven before a cut: it is the one to go back to.
            owned = OWNER_LABEL in (self.observed.containers[name]["Config"]["Labels"] or {})
            # The adoption of a container without our label is to be finished by any deploy.
            note = "" if owned else f"mkdir -p {ADOPTED_DIR} && touch {self._adoption(name)} && "
            gone = f"docker rm --force {aside} >/dev/null && "
            gone = gone if aside in self.observed.containers else ""
            self.remote.run(f"{note}{gone}docker rename {name} {aside}")
        create = [_quote(*argv) for argv in commands.create_container(container)]
        self._swap(container, *create)

    def _works(self, container: Container) -> bool:
        if container.gate is None:
            return False
        gate = f"if {{ {container.gate.command}; }} >/dev/null 2>&1; then echo works; fi"
        return bool(self.remote.run(gate).strip())

    def _adoption(self, name: str) -> str:
        """Path of the note that the adoption of a container has begun."""
        return f"{ADOPTED_DIR}/{self.observed.containers[name]['Id']}"

    def finish(self, step: Step) -> None:
        self._swap(self._container(step))

    def _swap(self, container: Container, *create: str) -> None:
        """Stop the container set aside and start the one that has its name, or give it back."""
        aside = container.name + ASIDE_SUFFIX
        old = aside if aside in self.observed.containers else container.name
        forget = f"rm -f {self._adoption(old)}"
        try:
            self.remote.run("\n".join(("set -e", *create, f"docker stop {aside} >/dev/null")))
            self._start_and_prove(container)
        except (RemoteError, NotProvenError) as error:
            raise self._given_back(container, error, forget) from None
        try:
            self.remote.run(f"docker rm --force {aside} >/dev/null; {forget}")
        except RemoteError as error:
            raise ApplyError(
                f"container {container.name}: the new one serves, but the old one could not be"
                f" removed and stays as {aside} ({error})"
            ) from None

    def _given_back(self, container: Container, error: Exception, forget: str) -> ApplyError:
        """Put the container set aside back in place; the error that says what stands now."""
        name, aside = container.name, container.name + ASIDE_SUFFIX
        diagnosis = ""
        try:
            self.observe()
            new, diagnosis = self._short_id(name), self._diagnosis(name)
            self._restore_files(container)
            self.remote.run(
                f"docker rm --force {name} >/dev/null 2>&1\n"
                f"docker rename {aside} {name} && {forget}"
            )
            self._start(name)
            return ApplyError(
                f"container {name}: the new one, {new}, was taken back: {error}\n"
                f"the old one, {self._short_id(name)}, is back: {self._proof(container)}\n"
                f"{diagnosis}"
            )
        except (RemoteError, ApplyError) as second:
            return ApplyError(
                f"container {name}: the new one failed: {error}\n"
                f"the old one could not be given back: {second}\n"
                f"the next deploy tries again; what stands now: {self._standing(name)}\n{diagnosis}"
            )

    def _short_id(self, name: str) -> str:
        """The first 12 digits of a container's id, or that there is none."""
        inspect = f"docker container inspect --format '{{{{.Id}}}}' {name} 2>/dev/null"
        return self.remote.run(f"{inspect} || echo 'never made'").strip()[:12]

    def _standing(self, name: str) -> str:
        listing = f"docker ps --all --filter 'name=^{name}($|\\.saiga-stack-old$)'"
        try:
            rows = self.remote.run(f"{listing} --format '{{{{.Names}}}} ({{{{.Status}}}})'")
        except RemoteError:
            return "unknown, as Docker does not answer"
        return ", ".join(rows.splitlines()) or "nothing"

    def _proof(self, container: Container) -> str:
        """What shows that a container given back works, as text.

        It was made for another site: it may pass the gate, or have its own health check only.
        """
        gate, name = container.gate, container.name
        state = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
        script = f"docker inspect --format '{state}' {name} 2>/dev/null || echo unknown starting"
        if gate:
            script += f"\nif {{ {gate.command}; }} >/dev/null 2>&1; then echo works; fi"
        started = time.monotonic()
        while True:
            answer, _, verdict = self.remote.run(script).strip().partition("\n")
            status, _, health = answer.partition(" ")
            if gate and verdict == "works" and status == "running":
                return f"it {gate.title}"
            if health != "starting":
                return f"it is {' and '.join(filter(None, (status, health)))}"
            if time.monotonic() - started > (gate.deadline if gate else 0):
                return f"it is {status}, but neither its gate nor its health check is content"
            time.sleep(POLL_SECONDS)

    def return_aside(self, step: Step) -> None:
        name = self._container(step).name
        # It serves again while the steps after this one are under way, where it still can.
        start = f"{{ docker start {name} >/dev/null 2>&1 || true; }}"
        self.remote.run(f"docker rename {name}{ASIDE_SUFFIX} {name} && {start}")

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
        container = self._container(step)
        self.remote.run(self._unproven(container))
        self._start_and_prove(container)

    def prove(self, step: Step) -> None:
        self._prove(self._container(step))

    def restart(self, step: Step) -> None:
        container = self._container(step)
        self.remote.run(f"{self._unproven(container)}; docker restart {container.name} >/dev/null")
        self._prove(container)

    def reload(self, step: Step) -> None:
        container = self._container(step)
        name = container.name
        assert container.reload is not None
        try:
            self.remote.run(container.reload)
            self._prove(container)
        except (RemoteError, NotProvenError) as error:
            diagnosis = self._diagnosis(name)
            self._restore_files(container)
            again = f"({container.reload}) >/dev/null 2>&1 || docker restart {name} >/dev/null"
            self.remote.run(again)
            raise ApplyError(
                f"container {name}: it did not take its new files: {error}\n"
                f"the files before are back: {self._proof(container)}\n{diagnosis}"
            ) from None

    @staticmethod
    def _unproven(container: Container) -> str:
        """A command that forgets that this very container was seen to work."""
        return f"rm -f {_loaded(container)}"

    def _start_and_prove(self, container: Container) -> None:
        self._start(container.name)
        self._prove(container)

    def _start(self, name: str) -> None:
        """Start a container; a port that is taken in nothing but Docker's books is freed first.

        After a power cut the engine may give a port back to a container that it then does not
        start. A restart of the engine, through which containers live, makes the books true.
        """
        start = f"docker start {name} >/dev/null"
        try:
            self.remote.run(start)
        except RemoteError as error:
            taken = TAKEN_PORT.search(str(error))
            if not taken or self.remote.run(f"docker ps -q --filter publish={taken[1]}").strip():
                raise
            cause = f"port {taken[1]} is taken, but no container has it"
            self.remote.say(f"    service docker: restart ({cause})")
            self.remote.run(audit_command(self.remote.origin, "service docker", "restart", cause))
            self.remote.run(f"{RESTART} && {{ {RESUME_HEALTH_CHECKS}; }}")
            self.remote.run(start)

    def _prove(self, container: Container) -> None:
        """Wait until the gate passes and note which files the container has loaded."""
        if container.gate:
            self._wait_for_gate(container, container.gate)
        identity = f"$(docker inspect --format '{{{{.Id}}}}' {container.name})"
        note = f'echo "{identity} {container.files_hash}" > {_loaded(container)}'
        self.remote.run(f"mkdir -p {LOADED_DIR} && {note}")

    def _wait_for_gate(self, container: Container, gate: Gate) -> None:
        """Raises NotProvenError at the deadline or, before it, when the container keeps ending.

        While Docker itself does not answer, nothing is held against the container.
        """
        name = container.name
        started = said = time.monotonic()
        state_format = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}"
        script = (
            f"docker inspect --format '{state_format}' {name} 2>/dev/null || echo unknown 0 0;"
            f" if {{ {gate.command}; }} >/dev/null 2>&1; then echo passed; else echo failed; fi"
        )
        restarts_before: int | None = None
        while True:
            state, verdict = self.remote.run(script).splitlines()[-2:]
            status, exit_code, count = state.split()
            waited = time.monotonic() - started
            if verdict == "passed" and status == "running":
                return
            if restarts_before is None and status != "unknown":
                restarts_before = int(count)
            restarts = int(count) - (restarts_before or 0)
            if status in ("exited", "dead") or restarts >= CRASHES_TO_FAIL:
                raise NotProvenError(
                    f"it is {status}, exit code {exit_code}, after {restarts} restarts, and has to"
                    f" be one that {gate.title}"
                )
            if waited > gate.deadline:
                raise NotProvenError(
                    f"it is {status}, but after {waited:.0f} s not yet one that {gate.title}"
                    f" (deadline {gate.deadline} s)"
                )
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                self.remote.say(
                    f"    waiting until {name} {gate.title}: {waited:.0f} s of {gate.deadline} s"
                )
            time.sleep(POLL_SECONDS)

    def _diagnosis(self, name: str) -> str:
        """Last log lines, health log and state of a container that failed."""
        state = "{{.State.Status}}, exit code {{.State.ExitCode}} {{.State.Error}}"
        health = "{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}"
        inspect = f"docker container inspect {name} --format"
        try:
            return self.remote.run(
                f"{inspect} . >/dev/null 2>&1 || exit 0\n"
                f"echo '--- its state'; {inspect} '{state}' 2>&1\n"
                f"echo '--- its health log'; {inspect} '{health}' 2>&1 | grep . | tail -5\n"
                f"echo '--- its last log lines'; docker logs --tail 30 {name} 2>&1 || true"
            ).strip()
        except RemoteError as error:
            return f"--- its logs could not be read: {error}"
