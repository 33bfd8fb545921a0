"""What the host has of the secrets, and what is to be done about it. No value is ever read here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from stack.docker.plan import Change
from stack.docker.spec import Desired
from stack.secrets import SECRETS_DIR, Secret, SecretFile
from stack.tasks import Task

GENERATE = "head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\\n'"


@dataclass(frozen=True)
class FileState:
    """A file of a container: mode and owner of it and of its folder, and whether its content
    is ``same`` as rendered now, ``differs`` or is ``unknown`` because a secret is missing."""

    mode: str
    folder: str
    content: str


@dataclass(frozen=True)
class Observed:
    """Mode and owner of each secret's file, and the containers' files, by path."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileState] = field(default_factory=dict)


def secret_files(desired: Desired) -> tuple[SecretFile, ...]:
    """Every file with a secret that a container of the site reads."""
    return tuple(file for container in desired.containers for file in container.secrets)


def observation_script(secrets: Iterable[Secret], files: Iterable[SecretFile]) -> str:
    """A shell script for the host; :func:`parse` reads its output."""
    lines = [
        f"[ ! -f {secret.path} ] || stat -c 'secret %a:%u %n' {secret.path}" for secret in secrets
    ]
    for file in files:
        known = " && ".join(f"[ -f {secret.path} ]" for secret in file.secrets)
        lines.append(
            f"if [ -f {file.path} ]; then"
            f" stat -c 'file %a:%u' {file.path} | tr '\\n' ' '; stat -c %a:%u {file.folder} |"
            f" tr '\\n' ' '; if ! {{ {known}; }}; then echo unknown {file.path};"
            f" elif {file.render} | cmp -s - {file.path}; then echo same {file.path};"
            f" else echo differs {file.path}; fi; fi"
        )
    return "\n".join(lines)


def parse(output: list[str]) -> Observed:
    secrets, files = {}, {}
    for line in output:
        match line.split():
            case ["secret", mode, path]:
                secrets[path] = mode
            case ["file", mode, folder, content, path]:
                files[path] = FileState(mode, folder, content)
    return Observed(secrets, files)


def install_command(secret: Secret, value: str) -> str:
    """A shell command that puts what the command ``value`` prints into the secret's file."""
    new = f"{secret.path}.new"
    return (
        f"install -d -m 0700 -o 0 -g 0 {SECRETS_DIR} && umask 077 && {value} > {new} &&"
        f" [ -s {new} ] && chown 0:0 {new} && chmod 0400 {new} && mv {new} {secret.path}"
    )


def _install(secret: Secret, value: str, cause: str, action: str) -> Task:
    return Task(f"secret {secret.name}", action, cause, (install_command(secret, value),))


def values(
    secrets: Iterable[Secret],
    observed: Observed,
    desired: Desired,
    supplied: frozenset[str],
    rotate: frozenset[str],
) -> Iterator[Task]:
    """Give every secret that is not supplied a value; a value there is never changed, unless it is
    one to ``rotate``. A lost one comes back from the containers that still have it."""
    for secret in secrets:
        mode = observed.secrets.get(secret.path)
        if secret.name in supplied:
            continue
        if secret.name in rotate:
            yield _install(secret, GENERATE, "asked for", "rotate")
        elif mode is None:
            value = " || ".join((*_witnesses(secret, desired), f"{{ {GENERATE}; }}"))
            yield _install(secret, f"{{ {value}; }}", "not found", "restore or generate")
        elif mode != "400:0":
            command = f"chown 0:0 {secret.path} && chmod 0400 {secret.path}"
            change = Change("mode and owner", mode, "400:0")
            yield Task(f"secret {secret.name}", "protect", "differs", (command,), (change,))


def _witnesses(secret: Secret, desired: Desired) -> Iterator[str]:
    """Commands that print the value as a container has it: its file, or what its process sees."""
    readers = [
        (container, file)
        for container in desired.containers
        for file in container.secrets
        if file.is_plain and file.secrets == (secret,)
    ]
    for _, file in readers:
        yield f"cat {file.path} 2>/dev/null"
    for container, file in readers:
        pid = f"$(docker inspect --format '{{{{.State.Pid}}}}' {container.name} 2>/dev/null)"
        yield f"cat /proc/{pid}/root/run/secrets/{file.name} 2>/dev/null"


def files(wanted: Iterable[SecretFile], observed: Observed) -> Iterator[Task]:
    """Give every container its files. A file is as old as the newest secret in it."""
    for file in wanted:
        state = observed.files.get(file.path)
        subject = f"secret {file.service}/{file.name}"
        new = f"{file.path}.new"
        newest, *others = (secret.path for secret in file.secrets)
        age = f"touch -r {newest} {new}" + "".join(
            f" && {{ [ {other} -ot {new} ] || touch -r {other} {new}; }}" for other in others
        )
        folder = f"install -d -m 0500 -o {file.uid} -g 0 {file.folder}"
        write = (
            f"{folder} && umask 077 && {file.render} > {new} && chown {file.uid}:0 {new} &&"
            f" chmod 0400 {new} && {age} && mv {new} {file.path}"
        )
        right = f"400:{file.uid} in 500:{file.uid}"
        if state is None:
            yield Task(subject, "write", "not found", (write,))
        elif state.content == "differs":
            yield Task(subject, "write", "the secret is another", (write,))
        elif (found := f"{state.mode} in {state.folder}") != right:
            protect = f"{folder} && chown {file.uid}:0 {file.path} && chmod 0400 {file.path}"
            change = Change("mode and owner", found, right)
            yield Task(subject, "protect", "differs", (protect,), (change,))
