"""The observation: a script for the host and its output, whole and cut."""

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stack.docker.observe import Engine, image_record, observation_script, parse
from stack.docker.spec import ConfigFile, Desired
from tests.unit.docker.hosts import ENGINES, RECORDED, recorded
from tests.unit.docker.recording import APP, DESIRED, FOLDER, PLAIN, PLAINEST

SECTIONS = (
    "engine",
    "containers",
    "networks",
    "volumes",
    "images",
    "files",
    "hashes",
    "loaded",
    "adopted",
    "end",
)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recording_is_parsed(engine: str) -> None:
    observed = recorded(engine)
    assert observed.engine is not None
    assert observed.engine.runtime == "runc"
    assert observed.networks.keys() == {"bridge", "host", "none", "front", "back"}
    assert {"everything_data", "shared_data", "spare_data"} <= observed.volumes.keys()
    assert observed.images.keys() == {container.image for container in DESIRED.containers}
    assert observed.pulled == {ref: observed.images[ref]["Id"] for ref in (APP, PLAIN)}
    view = observed.files[f"{FOLDER}/everything/view.json"]
    assert (view.mode, view.owner) == ("0640", "1000:1000")
    assert view.sha256 == DESIRED.container("everything").files[1].sha256
    assert observed.loaded["reloads"][0] == observed.containers["reloads"]["Id"]
    assert observed.adopted == frozenset()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("section", SECTIONS)
def test_an_output_cut_short_is_refused(section: str, engine: str) -> None:
    output = (RECORDED / f"{engine}.txt").read_text()
    with pytest.raises(ValueError, match="incomplete"):
        parse(output[: output.rindex(f"=== saiga-stack {section}\n") + 10])


@pytest.mark.parametrize("output", ["", "bash: docker: command not found\n"])
def test_something_else_is_refused(output: str) -> None:
    with pytest.raises(ValueError, match="incomplete"):
        parse(output)


def answered(answer: str) -> Engine | None:
    empty = "".join(f"=== saiga-stack {section}\n" for section in SECTIONS[1:])
    return parse(f"=== saiga-stack engine\n{answer}\n{empty}").engine


@pytest.mark.parametrize(
    ("answer", "engine"),
    [
        ('20.10.24+dfsg1 runc true ["name=seccomp"]', Engine("20.10.24+dfsg1", "runc", "host")),
        ('28.1.0 nvidia true ["name=cgroupns"]', Engine("28.1.0", "nvidia", "private")),
        ("28.1.0 runc false null", Engine("28.1.0", "runc", "host", limits_swap=False)),
        ("  false null", None),
        ("", None),
    ],
)
def test_the_engine(answer: str, engine: Engine | None) -> None:
    assert answered(answer) == engine


def stand_in(folder: Path, script: str) -> dict[str, str]:
    """An environment in which ``docker`` is a shell script."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def said(script: str, environment: dict[str, str]) -> str:
    """What a script prints where ``environment`` holds."""
    return subprocess.run(
        ["sh"], input=script, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("script", ["exit 1", "echo 'Cannot connect' >&2; echo; exit 1"])
def test_the_script_answers_without_an_engine(script: str, tmp_path: Path) -> None:
    file = ConfigFile(str(tmp_path / "conf/with a space.conf"), "a = 1\n", mode="0600")
    Path(file.folder).mkdir()
    Path(file.path).write_text(file.content)
    Path(file.path).chmod(0o600)
    container = replace(PLAINEST, files=(file, ConfigFile(f"{tmp_path}/gone/none", "")))
    output = said(observation_script(Desired(containers=(container,))), stand_in(tmp_path, script))
    observed = parse(output)
    assert observed.engine is None
    assert observed.containers == {}
    assert list(observed.files) == [file.path]
    assert observed.files[file.path].sha256 == file.sha256
    assert observed.files[file.path].mode == "0600"
    assert observed.unproven == frozenset()


def test_files_beside_ours_and_traces_of_an_interrupted_change(tmp_path: Path) -> None:
    conf = ConfigFile(f"{tmp_path}/conf/a.conf", "a = 1\n")
    Path(conf.folder, "folder").mkdir(parents=True)
    for name in ("a.conf", "a.conf.previous", "b.conf.new", "stray.conf"):
        Path(conf.folder, name).write_text(name)
    Path(conf.folder, "new.conf.previous").symlink_to("/dev/null")
    script = observation_script(Desired(containers=(replace(PLAINEST, files=(conf,)),)))
    observed = parse(said(script, stand_in(tmp_path, "exit 1")))
    assert observed.files.keys() == {conf.path, f"{conf.folder}/stray.conf"}
    assert observed.unproven == {conf.path, f"{conf.folder}/new.conf"}


def test_the_script_reads_what_docker_says(tmp_path: Path) -> None:
    documents = '[{"Name": "/a"}]' + "\n" + '[{"Name": "/b"}]'
    script = f"""
case "$*" in
    "info "*) echo '1.0 runc true []' ;;
    version) ;;
    "ps "*) echo 1; echo 2 ;;
    "container inspect 1 2") echo {shlex.quote(documents)} ;;
    "image inspect "*) echo '[{{"Id": "sha256:1"}}]' ;;
    *) exit 1 ;;
esac
"""
    output = said(observation_script(Desired(containers=(PLAINEST,))), stand_in(tmp_path, script))
    observed = parse(output)
    assert observed.engine == Engine("1.0", "runc", "host")
    assert observed.containers == {"a": {"Name": "/a"}, "b": {"Name": "/b"}}
    assert observed.images == {PLAIN: {"Id": "sha256:1"}}
    assert observed.pulled == {}


@pytest.mark.parametrize("question", ["ps", "container", "network", "volume", "image"])
def test_an_engine_that_goes_away_in_between_did_not_answer(question: str, tmp_path: Path) -> None:
    script = f"""
case "$*" in
    "{question} "*) touch {tmp_path}/gone; exit 1 ;;
    "version"*) ! [ -e {tmp_path}/gone ] ;;
    "info "*) echo '1.0 runc true []' ;;
    "ps "*) echo 1 ;;
    *) echo '[]' ;;
esac
"""
    output = said(observation_script(Desired(containers=(PLAINEST,))), stand_in(tmp_path, script))
    assert parse(output).engine is None


@pytest.mark.parametrize(
    ("there", "questions"), [(("a:1", "b:1"), 1), (("b:1",), 3), ((), 3)], ids=str
)
def test_images_are_asked_for_together(
    there: tuple[str, ...], questions: int, tmp_path: Path
) -> None:
    script = f"""
case "$*" in "image inspect "*) echo asked >>{tmp_path}/asked ;; *) exit 1 ;; esac
shift 2
status=0
comma=
printf '['
for image; do
    case " {" ".join(there)} " in
        *" $image "*) printf '%s{{"Id": "%s"}}' "$comma" "$image"; comma=, ;;
        *) status=1 ;;
    esac
done
echo ']'
exit $status
"""
    images = tuple(replace(PLAINEST, name=name, image=f"{name}:1") for name in ("a", "b"))
    output = said(observation_script(Desired(containers=images)), stand_in(tmp_path, script))
    assert parse(output).images == {image: {"Id": image} for image in there}
    assert len((tmp_path / "asked").read_text().splitlines()) == questions


def test_a_note_of_a_pull_has_a_name_of_its_own() -> None:
    assert image_record("registry.example:5000/a/b@sha256:0123") == (
        "/var/lib/saiga-stack/images/registry.example_5000_a_b_sha256_0123"
    )


@pytest.mark.parametrize("active", [True, False])
def test_a_stopped_engine_is_not_woken(active: bool, tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\nexit {0 if active else 3}\n")
    (tmp_path / "systemctl").chmod(0o755)
    environment = stand_in(tmp_path, f"echo asked >>{tmp_path}/asked; exit 1")
    script = observation_script(Desired(containers=(PLAINEST,)))
    booted = script.replace("/run/systemd/system", str(tmp_path))
    output = said(booted, environment)
    assert parse(output).stopped is not active
    assert (tmp_path / "asked").exists() is active


def test_a_folder_replaced_below_a_container_is_stale(tmp_path: Path) -> None:
    mounted, same, host = tmp_path / "proc/7/root/data", tmp_path / "proc/7/root/same", "/etc"
    mounted.mkdir(parents=True)
    same.symlink_to(host)
    (mounted.parent / "file").touch()
    bound = f"/web 7 {tmp_path}/gone /data\n/web 7 {host} /same\n/web 7 {tmp_path}/gone /file"
    script = f"""
case "$*" in
    "info "*) echo '1.0 runc true []' ;;
    version) ;;
    "ps "*) echo 1 ;;
    "container inspect --format "*) echo '{bound}' ;;
    *) exit 1 ;;
esac
"""
    output = said(
        observation_script(Desired()).replace("/proc/", f"{tmp_path}/proc/"),
        stand_in(tmp_path, script),
    )
    assert parse(output).stale_folders == {"web": (f"{tmp_path}/gone",)}
