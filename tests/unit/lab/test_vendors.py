"""The stand-ins for vendors' packages: descriptions, packages, and what the programs say."""

import subprocess
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.settings import FILES
from lab.vendors import catalogue, deb, repositories
from lab.vendors.catalogue import Package

CUDA = "nvidia/cuda/repos"
LOADED = catalogue.load()
DESCRIPTION = """
[repositories]
"debian/bookworm" = { suite = "bookworm" }
"ubuntu/noble" = { suite = "noble" }
[versions]
"5:1.2.3-1~{suite}" = { engine = "7.0" }
"5:1.3.0-1~{suite}" = { engine = "8.0" }
[packages."thing-{branch}"]
depends = "engine (>= {engine}), common (= {version})"
files = { "usr/bin/thing" = "thing" }
[packages.engine]
version = "{engine}-1"
"""


@pytest.fixture
def described(tmp_path: Path) -> Path:
    (tmp_path / "thing.toml").write_text(DESCRIPTION)
    (tmp_path / "thing").write_text("#!/bin/sh\necho @upstream@ @engine@\n")
    return tmp_path


def field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def versions(repository: str, name: str) -> set[str]:
    return {each.version for each in LOADED[repository] if each.name == name}


def relation(repository: str, name: str, version: str, key: str) -> str:
    found = [p for p in LOADED[repository] if (p.name, p.version) == (name, version)]
    return found[0].relations[key]


def test_a_description_is_every_package_in_every_version_in_every_repository(
    described: Path,
) -> None:
    loaded = catalogue.load(described, described)
    assert {(p.name, p.version) for p in loaded["ubuntu/noble"]} == {
        ("thing-1", "5:1.2.3-1~noble"),
        ("thing-1", "5:1.3.0-1~noble"),
        ("engine", "7.0-1"),
        ("engine", "8.0-1"),
    }
    first = loaded["debian/bookworm"][0]
    assert first.relations == {"depends": "engine (>= 7.0), common (= 5:1.2.3-1~bookworm)"}
    assert first.files == {"usr/bin/thing": "#!/bin/sh\necho 1.2.3 7.0\n"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('depend = "x"', "thing.toml: engine: there is no key depend"),
        ('depends = "x (= {nothing})"', "thing.toml: engine: there is no value 'nothing'"),
    ],
)
def test_a_wrong_description_is_named(described: Path, line: str, complaint: str) -> None:
    (described / "thing.toml").write_text(f"{DESCRIPTION}{line}\n")
    with pytest.raises(LabError) as error:
        catalogue.load(described, described)
    assert str(error.value) == complaint


def test_a_package_is_the_same_bytes_every_time_and_says_what_it_is(tmp_path: Path) -> None:
    package = Package(
        name="thing",
        version="5:1.0-1",
        relations={"pre-depends": "other (>= 2)"},
        files={"etc/thing.conf": "a\n", "usr/bin/thing": "#!/bin/sh\n"},
        links={"usr/bin/alias": "thing"},
        scripts={"postinst": "#!/bin/sh\n"},
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    built = deb.build(package, tmp_path / "a")
    assert built.read_bytes() == deb.build(package, tmp_path / "b").read_bytes()
    assert built.name == "thing_5%3a1.0-1_amd64.deb"
    assert field(built, "Pre-Depends") == "other (>= 2)"
    assert field(built, "Description").startswith("lab stand-in for thing\n")
    listing = subprocess.run(
        ["dpkg-deb", "--contents", str(built)], capture_output=True, text=True, check=True
    ).stdout
    assert "-rwxr-xr-x root/root" in listing
    assert "./usr/bin/alias -> thing" in listing
    control = subprocess.run(
        ["dpkg-deb", "--info", str(built), "conffiles"], capture_output=True, text=True, check=True
    )
    assert control.stdout == "/etc/thing.conf\n"


def test_a_library_has_its_name_for_ldconfig(tmp_path: Path) -> None:
    package = Package("thing", "1-1", libraries={"usr/lib/libthing.so.1.2": "libthing.so.1"})
    built = deb.build(package, tmp_path)
    subprocess.run(["dpkg-deb", "--extract", str(built), str(tmp_path / "root")], check=True)
    subprocess.run(["/sbin/ldconfig", "-n", str(tmp_path / "root/usr/lib")], check=True)
    assert (tmp_path / "root/usr/lib/libthing.so.1").readlink() == Path("libthing.so.1.2")


def test_every_repository_is_published_and_described() -> None:
    published = {f"{path}/{suite}" for v in repositories.VENDORS for path, suite, _ in v.suites}
    published |= {path for vendor in repositories.VENDORS for path in vendor.flat}
    assert published | {"debian"} == set(LOADED)


def test_no_mark_is_left_in_a_program() -> None:
    for packages in LOADED.values():
        for package in packages:
            for text in (*package.files.values(), *package.scripts.values()):
                assert not [word for word in text.split("@")[1::2] if word.isidentifier()], package


@pytest.mark.parametrize(
    ("repository", "name", "wanted", "newer"),
    [
        (f"{CUDA}/debian12/x86_64", "nvidia-smi", "560.35.03-1", {"560.35.05-1", "565.57.01-1"}),
        (f"{CUDA}/debian12/x86_64", "nvidia-modprobe", "560.35.03-1", {"575.51.03-1"}),
        (
            f"{CUDA}/ubuntu2204/x86_64",
            "nvidia-utils-560",
            "560.35.03-0ubuntu1",
            {"560.35.05-0ubuntu1"},
        ),
        (
            f"{CUDA}/ubuntu2404/x86_64",
            "nvidia-dkms-560-open",
            "560.35.03-0ubuntu1",
            {"560.35.05-0ubuntu1"},
        ),
        (f"{CUDA}/debian12/x86_64", "cuda-toolkit-12-6", "12.6.2-1", {"12.6.3-1"}),
        (
            "nvidia/libnvidia-container/stable/deb/amd64",
            "libnvidia-container1",
            "1.18.1-1",
            {"1.20.0-1"},
        ),
    ],
)
def test_newer_versions_lie_beside_the_wanted_one(
    repository: str, name: str, wanted: str, newer: set[str]
) -> None:
    assert {wanted, *newer} <= versions(repository, name)


def test_metapackages_ask_for_a_least_version_only() -> None:
    debian, ubuntu = (f"{CUDA}/{name}/x86_64" for name in ("debian12", "ubuntu2404"))
    assert "nvidia-driver (>= 560.35.03)" in relation(
        debian, "nvidia-open-560", "560.35.03-1", "depends"
    )
    assert "nvidia-driver-560-open (>= 560.35.03-0ubuntu1)" in relation(
        ubuntu, "nvidia-open-560", "560.35.03-0ubuntu1", "depends"
    )
    assert "nvidia-open" in relation(debian, "cuda", "12.6.2-1", "depends").split(", ")


def programs() -> dict[str, str]:
    """Every script of every package, of the last version described, and a host's own."""
    packages = [package for found in LOADED.values() for package in found]
    texts = {name: text for each in packages for name, text in each.files.items()}
    for package in packages:
        texts |= {f"{package.name}.{name}": text for name, text in package.scripts.items()}
    for file in sorted((FILES / "host/usr/local").rglob("*")):
        if file.is_file():
            texts[f"host/{file.name}"] = file.read_text()
    return {name: text for name, text in texts.items() if text.startswith("#!")}


def test_every_command_says_lab() -> None:
    commands = {name: text for name, text in programs().items() if "/bin/" in name}
    assert {"usr/bin/nvidia-smi", "usr/bin/nvidia-ctk"} <= set(commands)
    assert not [name for name, text in commands.items() if "(lab stand-in)" not in text]


@pytest.mark.parametrize(("name", "text"), sorted(programs().items()))
def test_a_program_has_no_mistake_of_grammar(name: str, text: str, tmp_path: Path) -> None:
    library = LOADED["nvidia/libnvidia-container/stable/deb/amd64"]
    for package in library:
        for path, module in package.files.items():
            if path.endswith(".pm"):
                (tmp_path / Path(path).name).write_text(module)
    check = ["perl", f"-I{tmp_path}", "-wc"] if "perl" in text.splitlines()[0] else ["sh", "-n"]
    done = subprocess.run(check, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    assert done.stderr in ("", "- syntax OK\n")
