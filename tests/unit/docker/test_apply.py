"""Carrying a plan out, on a recorded host whose shell is a script."""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stack.docker import apply as module
from stack.docker.apply import ApplyError, RemoteError, apply
from stack.docker.audit import AUDIT_LOG
from stack.docker.history import SERVING_DIR
from stack.docker.observe import ASIDE_SUFFIX, CHECK_DIR, Observed, image_record
from stack.docker.plan import Refusal
from stack.docker.spec import OWNER_LABEL, ConfigFile, Container, Desired, Gate
from tests.unit.docker import hosts
from tests.unit.docker.hosts import ENGINES, Change, Host, both, config, host_config, label, state
from tests.unit.docker.recording import BUILT, FOLDER, PLAIN

Effect = Callable[[Host], str]

ASIDE = f"plain{ASIDE_SUFFIX}"
CONF = f"{FOLDER}/everything/app.conf"
RELOADS_CONF = f"{FOLDER}/reloads/app.conf"
CHANGING = re.compile(
    r"docker (?:create --name=\S+|(?:rename|stop|start|rm|restart|unpause|update|pull|kill|build)\b"
    r"[^\n;&|>)]*|(?:network|volume) (?:create|rm|connect|disconnect)\b[^\n;&|>]*)"
)


class Shell:
    """A Remote: each script gets the answer of the first pattern that it contains.

    An answer is text, an effect on the host or an error. Scripts without one give nothing.
    """

    origin = "anna@office"

    def __init__(self, host: Host, answers: Sequence[tuple[str, str | Effect | Exception]]) -> None:
        self.host = host
        self.answers = list(answers)
        self.scripts: list[str] = []
        self.files: dict[str, bytes] = {}
        self.notes: dict[str, bytes] = {}
        self.said: list[str] = []

    def run(self, script: str) -> str:
        self.scripts.append(script)
        if AUDIT_LOG in script:
            return ""
        for pattern, answer in self.answers:
            if re.search(pattern, script):
                if isinstance(answer, Exception):
                    raise answer
                return answer if isinstance(answer, str) else answer(self.host)
        return ""

    def put(self, content: bytes, path: str) -> None:
        kept = self.notes if path.startswith(SERVING_DIR) else self.files
        kept[path] = content

    def observe(self) -> Observed:
        return self.host.observed

    def context(self, container: Container) -> bytes:
        return f"context of {container.name}".encode()

    def say(self, text: str) -> None:
        self.said.append(text)

    @property
    def changes(self) -> str:
        """The commands that changed something in Docker, one a line."""
        found = (match for script in self.scripts for match in CHANGING.findall(script))
        return "\n".join(match.removesuffix("2").strip() for match in found)

    @property
    def audit(self) -> list[str]:
        return [script for script in self.scripts if AUDIT_LOG in script]


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(module, "ENGINE_DEADLINE", 0)


def shell(change: Change, *answers: tuple[str, str | Effect | Exception]) -> Shell:
    host = Host(ENGINES[-1])
    change(host)
    return Shell(host, answers)


def lines(*parts: str) -> str:
    return "\n".join(parts)


def gated(name: str, deadline: int = 60) -> Change:
    gate = Gate("serves", "true", deadline)

    def change(desired: Desired) -> Desired:
        containers = (replace(c, gate=gate) if c.name == name else c for c in desired.containers)
        return replace(desired, containers=tuple(containers))

    return hosts.desired(change)


DRIFTED = config("plain", User="1:1")
PASSED = ("then echo passed", "running 0 0\npassed\n")
REPLACED = lines(
    f"docker rename plain {ASIDE}",
    "docker create --name=plain",
    f"docker stop {ASIDE}",
    "docker start plain",
    f"docker rm --force {ASIDE}",
)

STEPS: dict[str, tuple[Change, str, str]] = {
    "nothing": (hosts.nothing, "container plain", ""),
    "create": (
        hosts.gone("containers", "everything"),
        "container everything",
        lines(
            "docker create --name=everything",
            "docker network connect --ip=10.92.0.2 --alias=app back everything",
            "docker start everything",
        ),
    ),
    "start": (state("plain", "exited"), "container plain", "docker start plain"),
    "unpause": (state("plain", "paused"), "container plain", "docker unpause plain"),
    "restart": (state("plain", "restarting"), "container plain", "docker restart plain"),
    "update": (
        host_config("everything", PidsLimit=1, MemorySwap=-1),
        "container everything",
        "docker update --memory=67108864 --memory-swap=67108864 --pids-limit=50 everything",
    ),
    "connect": (
        hosts.detached("everything", "back"),
        "container everything",
        "docker network connect --ip=10.92.0.2 --alias=app back everything",
    ),
    "connect again": (
        hosts.attached("plain", "front", "10.91.0.9"),
        "container plain",
        lines(
            "docker network disconnect --force front plain",
            "docker network connect --ip=10.91.0.5 front plain",
        ),
    ),
    "disconnect": (
        hosts.attached("plain", "bridge", IPAddress="172.17.0.2"),
        "container plain",
        "docker network disconnect --force bridge plain",
    ),
    "release": (
        hosts.attached("plain", "front", "10.91.0.4"),
        "network front",
        "docker network disconnect --force front plain",
    ),
    "replace": (DRIFTED, "container plain", REPLACED),
    "replace once more": (
        both(DRIFTED, hosts.aside("plain", replaced=True)),
        "container plain",
        lines(
            "docker rm --force plain",
            "docker create --name=plain",
            f"docker stop {ASIDE}",
            "docker start plain",
            f"docker rm --force {ASIDE}",
        ),
    ),
    "replace the network of a renamed one": (
        hosts.renamed_network("back", "rear"),
        "leftovers",
        lines(
            "docker network disconnect --force back on_gpu",
            "docker network disconnect --force back reloads",
            "docker network disconnect --force back everything",
            "docker network rm back",
        ),
    ),
    "finish": (
        hosts.aside("plain", replaced=True),
        "container plain",
        lines(f"docker stop {ASIDE}", "docker start plain", f"docker rm --force {ASIDE}"),
    ),
    "remove": (
        both(hosts.stranger("old"), label("containers", "old", OWNER_LABEL, "yes")),
        "leftovers",
        lines("docker stop old", "docker rm --force old"),
    ),
    "create a network": (
        hosts.gone("networks", "back"),
        "network back",
        "docker network create --driver=bridge --subnet=10.92.0.0/24 --gateway=10.92.0.1"
        " --ip-range=10.92.0.128/25 --label=saiga-stack.managed=yes back",
    ),
    "recreate a network": (
        both(
            hosts.pool("front", Gateway="10.91.0.254"),
            hosts.detached("defaults", "front"),
            hosts.aside("plain", replaced=False),
        ),
        "network front",
        lines(
            "docker network disconnect --force front everything",
            f"docker network disconnect --force front {ASIDE}",
            "docker network rm front",
            "docker network create --driver=bridge --subnet=10.91.0.0/24 --gateway=10.91.0.1"
            " --ip-range=10.91.0.128/25 --label=saiga-stack.managed=yes"
            " --opt=com.docker.network.driver.mtu=1400 front",
            "docker network connect --ip=10.91.0.2 --alias=www --alias=web front everything",
            f"docker network connect --ip=10.91.0.5 front {ASIDE}",
        ),
    ),
    "create a volume": (
        hosts.gone("volumes", "spare_data"),
        "volume spare_data",
        "docker volume create --label=saiga-stack.managed=yes spare_data",
    ),
    "reload": (
        hosts.gone("loaded", "reloads"),
        "container reloads",
        "docker kill --signal=HUP reloads",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_step(name: str) -> None:
    change, subject, expected = STEPS[name]
    remote = shell(change, PASSED)
    taken = apply(remote, remote.host.desired, subject)
    assert remote.changes == expected
    assert bool(taken) == bool(expected)
    assert "\n".join(remote.said) == str(taken)


def test_every_subject_is_left_alone_but_its_own() -> None:
    remote = shell(both(DRIFTED, hosts.gone("volumes", "spare_data")))
    apply(remote, remote.host.desired, "volume spare_data")
    assert "plain" not in remote.changes


def test_a_refusal_comes_before_anything_is_done() -> None:
    remote = shell(label("containers", "plain", OWNER_LABEL, None))
    with pytest.raises(Refusal):
        apply(remote, remote.host.desired, "container everything")
    assert remote.scripts == []


def test_a_container_of_another_is_replaced_when_adopted() -> None:
    remote = shell(label("containers", "plain", OWNER_LABEL, None))
    apply(remote, remote.host.desired, "container plain", adopt=True)
    assert remote.changes == REPLACED


def test_an_adopted_volume_is_noted_and_not_touched() -> None:
    remote = shell(label("volumes", "spare_data", OWNER_LABEL, None))
    apply(remote, remote.host.desired, "volume spare_data", adopt=True)
    assert remote.changes == ""
    assert any("/adopted/spare_data" in script for script in remote.scripts)


def test_a_host_without_docker_is_said_so() -> None:
    remote = shell(lambda host: setattr(host, "engine", None))
    with pytest.raises(ApplyError, match="Docker does not answer"):
        apply(remote, remote.host.desired, "container plain")
    assert remote.scripts == []


def test_what_cannot_be_done_is_named() -> None:
    failure = RemoteError("no space left on device")
    remote = shell(hosts.gone("volumes", "spare_data"), ("volume create", failure))
    with pytest.raises(ApplyError) as error:
        apply(remote, remote.host.desired, "volume spare_data")
    expected = "volume spare_data: could not create the volume: no space left on device"
    assert str(error.value) == expected
    assert expected in remote.audit[-1]


# Replacing


def failing(*answers: tuple[str, str | Effect | Exception]) -> tuple[Shell, str]:
    """A replacement of ``plain`` that fails, and the error it ends with."""
    remote = shell(
        both(DRIFTED, gated("plain", deadline=0)),
        *answers,
        ("its last log lines", "--- its state\nexited\n--- its last log lines\nno such model"),
        ("container inspect --format '{{.Id}}' plain", "0123456789abcdef\n"),
        ("State.Health.Status", "running healthy\n"),
    )
    with pytest.raises(ApplyError) as error:
        apply(remote, remote.host.desired, "container plain")
    return remote, str(error.value)


RETURNED = lines("docker rm --force plain", f"docker rename {ASIDE} plain", "docker start plain")


def test_the_old_container_goes_only_when_the_new_one_has_proven_itself() -> None:
    remote = shell(both(DRIFTED, gated("plain")), PASSED)
    apply(remote, remote.host.desired, "container plain")
    assert remote.changes == REPLACED
    order = [script for script in remote.scripts if "passed" in script or "docker rm" in script]
    assert "passed" in order[0]
    assert f"docker rm --force {ASIDE}" in order[1]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (
            "running 0 0\nfailed\n",
            "it is running, but after 0 s not yet one that serves (deadline 0 s)",
        ),
        (
            "exited 3 0\nfailed\n",
            "it is exited, exit code 3, after 0 restarts, and has to be one that serves",
        ),
    ],
)
def test_a_failing_gate_gives_the_old_container_back(answer: str, cause: str) -> None:
    remote, error = failing(("then echo passed", answer))
    assert remote.changes == lines(
        f"docker rename plain {ASIDE}",
        "docker create --name=plain",
        f"docker stop {ASIDE}",
        "docker start plain",
        RETURNED,
    )
    assert error == lines(
        f"container plain: the new one, 0123456789ab, was taken back: {cause}",
        "the old one, 0123456789ab, is back: it is running and healthy",
        "--- its state",
        "exited",
        "--- its last log lines",
        "no such model",
    )
    assert cause in remote.audit[-1]


def test_a_container_that_keeps_ending_is_not_waited_for() -> None:
    states = iter(["running 1 0", "restarting 1 2", "restarting 1 3"])
    remote = shell(
        both(DRIFTED, gated("plain", deadline=600)),
        ("then echo passed", lambda _: f"{next(states)}\nfailed\n"),
    )
    with pytest.raises(ApplyError, match="is restarting, exit code 1, after 3 restarts"):
        apply(remote, remote.host.desired, "container plain")


def test_a_gate_that_passes_later_is_waited_for() -> None:
    answers = iter(["unknown 0 0\nfailed", "running 0 0\nfailed", "running 0 0\npassed"])
    remote = shell(
        both(state("plain", "exited"), gated("plain", deadline=600)),
        ("then echo passed", lambda _: next(answers)),
    )
    apply(remote, remote.host.desired, "container plain")
    assert next(answers, None) is None


def test_an_image_that_cannot_run_gives_the_old_container_back() -> None:
    remote, error = failing(("docker create", RemoteError("no command specified")))
    assert remote.changes == lines(
        f"docker rename plain {ASIDE}",
        "docker create --name=plain",
        f"docker stop {ASIDE}",
        RETURNED,
    )
    assert error.startswith(
        "container plain: the new one, 0123456789ab, was taken back: no command specified\n"
    )


def test_both_are_named_when_the_old_container_does_not_come_back() -> None:
    _, error = failing(
        ("then echo passed", "exited 1 0\nfailed\n"),
        (f"docker rename {ASIDE}", RemoteError("the disk is full")),
        ("docker ps", f"plain (Created)\n{ASIDE} (Exited (0) 1 second ago)\n"),
    )
    assert error.splitlines()[:3] == [
        "container plain: the new one failed: it is exited, exit code 1, after 0 restarts, and has"
        " to be one that serves",
        "the old one could not be given back: the disk is full",
        "the next deploy tries again; what stands now: plain (Created),"
        f" {ASIDE} (Exited (0) 1 second ago)",
    ]


def test_an_interrupted_replacement_does_not_lose_the_old_container() -> None:
    def returned(host: Host) -> str:
        host.containers["plain"] = host.containers.pop(ASIDE)
        host.containers["plain"]["Name"] = "/plain"
        return ""

    remote = shell(
        both(DRIFTED, hosts.aside("plain", replaced=False)),
        (f"docker rename {ASIDE}", returned),
    )
    taken = apply(remote, remote.host.desired, "container plain")
    assert [str(step.action) for step in taken.steps] == [
        "return the container set aside",
        "replace the container",
    ]
    assert "docker rm --force plain\n" not in remote.changes
    assert remote.changes.endswith(REPLACED)


# Images


def test_a_pulled_image_is_looked_at_before_anything_is_decided() -> None:
    def pulled(host: Host) -> str:
        host.images[PLAIN] = {"Id": "sha256:new", "Config": {"Cmd": ["serve"]}}
        host.pulled[PLAIN] = "sha256:new"
        return ""

    remote = shell(both(hosts.gone("images", PLAIN), hosts.gone("pulled", PLAIN)), ("pull", pulled))
    old = remote.host.containers["plain"]["Image"]
    taken = apply(remote, remote.host.desired, "container plain")
    assert str(taken) == lines(
        f"container plain: pull the image {PLAIN} (not found)",
        "container plain: replace the container (differs)",
        "    command: /bin/sleep infinity -> serve",
        f"    image id: {old} -> sha256:new",
    )
    assert remote.changes == f"docker pull --quiet {PLAIN}\n{REPLACED}"


def test_a_pull_is_noted_after_it_has_ended() -> None:
    remote = shell(
        hosts.gone("images", PLAIN),
        ("pull", lambda host: host.images.update({PLAIN: {"Id": host.pulled[PLAIN]}}) or ""),
    )
    apply(remote, remote.host.desired, "container plain")
    script = next(script for script in remote.scripts if "docker pull" in script)
    assert script.index("docker pull") < script.index("&&") < script.index("recording_plain_1")


def test_an_image_of_ours_is_built_from_its_context() -> None:
    image = Host(ENGINES[-1]).images[BUILT]
    remote = shell(
        hosts.gone("images", BUILT),
        ("docker build", lambda host: host.images.update({BUILT: image}) or ""),
    )
    taken = apply(remote, remote.host.desired, "container on_gpu")
    assert str(taken) == f"container on_gpu: build the image {BUILT} (not found)"
    (archive,) = remote.files
    assert remote.files[archive] == b"context of on_gpu"
    (build,) = (script for script in remote.scripts if "docker build" in script)
    assert f"rm -f {archive}" in build
    assert build.endswith(f"> {image_record(BUILT)}")


def test_an_image_of_ours_that_is_still_there_gets_its_tag_back() -> None:
    image = Host(ENGINES[-1]).images[BUILT]
    remote = shell(
        hosts.gone("images", BUILT),
        ("docker tag", lambda host: host.images.update({BUILT: image}) or "tagged"),
    )
    apply(remote, remote.host.desired, "container on_gpu")
    (tag,) = [script for script in remote.scripts if "docker tag" in script]
    assert f'docker tag "$(cat {image_record(BUILT)})" {BUILT}' in tag
    assert remote.files == {}


# Files


def writing(remote: Shell, path: str) -> str:
    """The script that puts a written file in its place."""
    (script,) = [s for s in remote.scripts if s.endswith(f"mv {path}.new {path}")]
    return script


def test_a_file_takes_its_place_complete_and_with_its_mode() -> None:
    remote = shell(hosts.gone("files", f"{FOLDER}/everything/view.json"))
    apply(remote, remote.host.desired, "container everything")
    path = f"{FOLDER}/everything/view.json"
    assert remote.files == {f"{path}.new": b"{}\n"}
    assert writing(remote, path) == (
        f"chown 1000:1000 {path}.new && chmod 0640 {path}.new && mv {path}.new {path}"
    )


def test_the_mode_alone_is_no_reason_to_load_a_file_again() -> None:
    remote = shell(hosts.file(RELOADS_CONF, mode="0600"))
    apply(remote, remote.host.desired, "container reloads")
    assert remote.changes == ""
    assert "/loaded/" not in writing(remote, RELOADS_CONF)


def test_a_file_is_forgotten_as_loaded_before_it_is_written() -> None:
    remote = shell(hosts.edited(RELOADS_CONF, 5, "reloads"))
    apply(remote, remote.host.desired, "container reloads")
    script = writing(remote, RELOADS_CONF)
    assert script.index("mv /var/lib/saiga-stack/loaded/reloads") < script.index(".new ", 99)
    assert remote.changes == "docker kill --signal=HUP reloads"
    notes = [s for s in remote.scripts if "> /var/lib/saiga-stack/loaded/reloads" in s]
    assert len(notes) == 1
    assert remote.scripts.index(script) < remote.scripts.index(notes[0])


@pytest.mark.parametrize(
    ("subject", "path", "change", "step"),
    [
        (
            "everything",
            CONF,
            both(hosts.edited(CONF, 5, "everything"), config("everything", User="1:1")),
            "docker create",
        ),
        ("reloads", RELOADS_CONF, hosts.edited(RELOADS_CONF, 5, "reloads"), "docker kill"),
    ],
)
def test_files_come_back_with_the_old_container(
    subject: str, path: str, change: Change, step: str
) -> None:
    remote = shell(change, (step, RemoteError("it did not take them")))
    with pytest.raises(ApplyError, match="it did not take them"):
        apply(remote, remote.host.desired, f"container {subject}")
    (back,) = [s for s in remote.scripts if s.startswith("for previous in ")]
    assert f"cp -a {path} {path}.previous" in writing(remote, path)
    starts = [s for s in remote.scripts if f"docker start {subject}" in s or "docker kill" in s]
    assert remote.scripts.index(back) < remote.scripts.index(starts[-1])
    assert not any(SERVING_DIR in script for script in remote.scripts), "nothing is settled"


def about_files(remote: Shell) -> list[str]:
    """The scripts that change configuration files and notes about them."""
    others = (AUDIT_LOG, CHECK_DIR, SERVING_DIR + "/", "docker create")
    return [s for s in remote.scripts if FOLDER in s and not any(other in s for other in others)]


def run_below(folder: Path, script: str) -> None:
    """Run a script by a shell, with its paths in a folder of the test's own."""
    script = re.sub(r"chown \S+ \S+ &&", "", script)
    script = re.sub(r"(?<![\w-])/(srv/recording|var/lib)", rf"{folder}/\1", script)
    subprocess.run(["sh"], input=script, text=True, check=True)


def test_a_file_put_right_before_it_was_read_leaves_the_container_proven(tmp_path: Path) -> None:
    remote = shell(hosts.edited(CONF, 5, "everything"))
    apply(remote, remote.host.desired, "container everything")
    loaded = tmp_path / "var/lib/saiga-stack/loaded/everything"
    for path in (loaded, tmp_path / CONF.lstrip("/"), tmp_path / f"{CONF}.new".lstrip("/")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    for script in about_files(remote):
        run_below(tmp_path, script)
    assert loaded.read_text() == "everything"
    assert sorted(path.name for path in loaded.parent.iterdir()) == ["everything"]
    assert sorted(path.name for path in (tmp_path / FOLDER.lstrip("/")).rglob("*.previous")) == []


def test_a_failed_change_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """The scripts about files, run by a shell in a folder of the test's own."""
    new, stray = f"{FOLDER}/everything/new.conf", f"{FOLDER}/everything/stray.conf"

    def add(desired: Desired) -> Desired:
        wanted = desired.container("everything")
        more = replace(wanted, files=(*wanted.files, ConfigFile(new, "new\n")))
        return replace(
            desired, containers=tuple(more if c is wanted else c for c in desired.containers)
        )

    remote = shell(
        both(
            hosts.desired(add),
            hosts.edited(CONF, 5, "everything"),
            hosts.stray(stray, CONF, 5, "everything"),
        ),
        ("docker create", RemoteError("no")),
    )
    folder = tmp_path / "srv/recording/everything"
    folder.mkdir(parents=True)
    for name in ("app.conf", "view.json", "stray.conf"):
        (folder / name).write_text(f"{name} before")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(ApplyError):
        apply(remote, remote.host.desired, "container everything")

    for path, content in remote.files.items():
        (tmp_path / path.lstrip("/")).write_bytes(content)
    *changes, back = about_files(remote)
    for script in changes:
        run_below(tmp_path, script)
    assert (folder / "new.conf").read_text() == "new\n"
    assert not (folder / "stray.conf").exists()
    aside = tmp_path / "var/lib/saiga-stack/set-aside/srv/recording/everything/stray.conf"
    assert aside.read_text() == "stray.conf before"
    run_below(tmp_path, back)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_what_works_is_kept_to_go_back_to() -> None:
    """A replacement was cut off after its gate, before the old container was removed."""
    change = both(DRIFTED, hosts.aside("plain", replaced=True), gated("plain"))
    remote = shell(change, PASSED, ("then echo works", "works\n"))
    apply(remote, remote.host.desired, "container plain")
    assert remote.changes == lines(f"docker rm --force {ASIDE}", REPLACED)


def test_an_adoption_is_noted_until_it_is_done() -> None:
    remote = shell(label("containers", "plain", OWNER_LABEL, None))
    identity = remote.host.containers["plain"]["Id"]
    apply(remote, remote.host.desired, "container plain", adopt=True)
    (noted,) = [s for s in remote.scripts if f"touch /var/lib/saiga-stack/adopted/{identity}" in s]
    assert noted.endswith(f"docker rename plain {ASIDE}")
    assert f"docker rm --force {ASIDE} >/dev/null; rm -f" in "\n".join(remote.scripts)


def test_what_is_known_of_a_container_stays_while_another_takes_its_place() -> None:
    forgets = "rm -f /var/lib/saiga-stack/loaded/plain;"
    replaced = shell(
        both(DRIFTED, gated("plain", deadline=0)), ("then echo passed", "exited 1 0\nfailed\n")
    )
    with pytest.raises(ApplyError):
        apply(replaced, replaced.host.desired, "container plain")
    assert not any(
        script.startswith("rm -f /var/lib/saiga-stack/loaded/plain") for script in replaced.scripts
    )
    started = shell(state("plain", "exited"))
    apply(started, started.host.desired, "container plain")
    assert any(script == "rm -f /var/lib/saiga-stack/loaded/plain" for script in started.scripts)
    restarted = shell(state("plain", "restarting"))
    apply(restarted, restarted.host.desired, "container plain")
    assert any(script.startswith(forgets) for script in restarted.scripts)


def test_a_gate_that_was_not_passed_is_asked_again() -> None:
    remote = shell(both(hosts.gone("loaded", "plain"), gated("plain", deadline=0)))
    remote.answers.append(("then echo passed", "running 0 0\nfailed\n"))
    with pytest.raises(ApplyError, match="not yet one that serves"):
        apply(remote, remote.host.desired, "container plain")
    assert remote.changes == ""


def test_a_shell_takes_every_script(tmp_path: Path) -> None:
    remote = shell(
        both(
            hosts.edited(CONF, 5, "everything"),
            config("everything", User="1:1"),
            gated("everything", deadline=0),
        ),
        ("then echo passed", "exited 1 0\nfailed\n"),
    )
    with pytest.raises(ApplyError):
        apply(remote, remote.host.desired, "container everything")
    for script in remote.scripts:
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


# The audit log


# A shell as sudo gives it: of the connection it knows nothing but who called it.
UNDER_SUDO = ("sh", "-c", "env -i PATH=$PATH sh; exit $?")


def audited(
    remote: Shell, folder: Path, shell: tuple[str, ...] = ("sh",)
) -> list[dict[str, object]]:
    """The lines that a host's shell makes of what was to be logged."""
    own = str(folder / "log")
    for script in remote.audit:
        script = script.replace(AUDIT_LOG.rpartition("/")[0], own)
        environment = {"PATH": "/usr/bin:/bin", "SSH_CLIENT": "192.0.2.7 50000 22"}
        subprocess.run([*shell], input=script, text=True, check=True, env=environment)
    log = Path(own) / AUDIT_LOG.rpartition("/")[2]
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_change_has_a_line_before_it_is_made(tmp_path: Path) -> None:
    remote = shell(
        both(
            hosts.environment("plain", "HUB_TOKEN", "opensesame"),
            hosts.environment("plain", "WORDS", 'it\'s 100% "so"\n'),
        )
    )
    apply(remote, remote.host.desired, "container plain")
    assert AUDIT_LOG in remote.scripts[0]
    (line,) = audited(remote, tmp_path)
    assert str(line.pop("at")).endswith("Z")
    assert line.pop("from") == "anna@office 192.0.2.7"
    assert line == {
        "subject": "container plain",
        "action": "replace the container",
        "cause": "differs",
        "changes": [
            {"field": "environment.HUB_TOKEN", "before": "(hidden)", "after": "-"},
            {"field": "environment.WORDS", "before": 'it\'s 100% "so"\\n', "after": "-"},
        ],
    }
    assert "opensesame" not in "".join(remote.audit + remote.said)


def test_a_line_names_the_address_under_sudo_too(tmp_path: Path) -> None:
    remote = shell(state("plain", "exited"))
    apply(remote, remote.host.desired, "container plain")
    (line,) = audited(remote, tmp_path, UNDER_SUDO)
    assert line["from"] == "anna@office 192.0.2.7"


def test_a_change_that_failed_has_a_second_line(tmp_path: Path) -> None:
    remote = shell(
        state("plain", "exited", ExitCode=9), ("docker start", RemoteError("port 80 is taken"))
    )
    with pytest.raises(ApplyError):
        apply(remote, remote.host.desired, "container plain")
    first, second = audited(remote, tmp_path)
    assert "failure" not in first
    assert second["cause"] == "exited, exit code 9"
    assert second["failure"] == "container plain: could not start: port 80 is taken"


TAKEN = "driver failed: Bind for 127.0.0.1:8080 failed: port is already allocated"


def test_a_port_that_no_container_has_is_freed(tmp_path: Path) -> None:
    starts = iter([RemoteError(TAKEN), None])

    def start(_: Host) -> str:
        if error := next(starts):
            raise error
        return ""

    remote = shell(state("plain", "exited"), ("docker start plain", start), PASSED)
    apply(remote, remote.host.desired, "container plain")
    [asked, restarted, started] = [
        script
        for script in remote.scripts
        if re.search("filter publish=|systemctl|docker start", script) and AUDIT_LOG not in script
    ][1:]
    assert "publish=8080" in asked
    assert restarted.startswith("systemctl reload docker")
    assert started == "docker start plain >/dev/null"
    assert audited(remote, tmp_path)[1]["subject"] == "service docker"


def test_a_port_that_another_container_has_is_left_to_it() -> None:
    remote = shell(
        state("plain", "exited"),
        ("publish=8080", "0123456789ab"),
        ("docker start plain", RemoteError(TAKEN)),
    )
    with pytest.raises(ApplyError, match="port is already allocated"):
        apply(remote, remote.host.desired, "container plain")
    assert not any("systemctl" in script for script in remote.scripts)


def checked(change: Change, *answers: tuple[str, str | Effect | Exception]) -> Shell:
    """The host after ``change``, where the container "everything" has a check of its own."""

    def with_check(desired: Desired) -> Desired:
        containers = (
            replace(c, check='try-out "$1"') if c.name == "everything" else c
            for c in desired.containers
        )
        return replace(desired, containers=tuple(containers))

    return shell(both(change, hosts.desired(with_check)), *answers)


def test_a_check_that_fails_leaves_everything_as_it_is() -> None:
    drifted = both(hosts.edited(CONF, 1, "everything"), config("everything", User="1:1"))
    remote = checked(drifted, ("try-out", RemoteError("app.answer: 42 is too much")))
    with pytest.raises(ApplyError) as raised:
        apply(remote, remote.host.desired, "container everything")
    assert str(raised.value) == (
        "container everything: nothing was changed: app.answer: 42 is too much"
    )
    assert remote.changes == ""
    assert remote.audit == []
    assert list(remote.files) == ["/var/lib/saiga-stack/check/everything/app.conf"]


def test_a_check_is_asked_once_and_before_the_first_change() -> None:
    remote = checked(both(hosts.edited(CONF, 1, "everything"), config("everything", User="1:1")))
    remote.answers.append(PASSED)
    apply(remote, remote.host.desired, "container everything")
    asked = [n for n, script in enumerate(remote.scripts) if "try-out" in script]
    changed = [n for n, script in enumerate(remote.scripts) if CHANGING.search(script)]
    assert len(asked) == 1
    assert asked[0] < changed[0]
    assert "rm -rf /var/lib/saiga-stack/check/everything" in remote.scripts[asked[0]]


def test_a_container_as_it_has_to_be_is_not_checked() -> None:
    remote = checked(hosts.nothing)
    apply(remote, remote.host.desired, "container everything")
    assert not [script for script in remote.scripts if "try-out" in script]
