"""The lab's own SSH identity: a key pair, a client configuration and the hosts' known keys."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lab import netns
from lab.processes import run
from lab.settings import HOSTS, STATE, Host

IDENTITY = STATE / "id_ed25519"
CONFIG = STATE / "ssh_config"
KNOWN_HOSTS = STATE / "known_hosts"
# For a question that is asked again and again until the host is up.
AT_ONCE = ("-o", "ConnectTimeout=2", "-o", "BatchMode=yes")
HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")


def ensure_identity() -> None:
    """Make the key pair (0600) and the client configuration if they are not there."""
    if not IDENTITY.is_file() or not public_key():
        new_key(IDENTITY, "saiga-lab")
    CONFIG.write_text(client_config(HOSTS.values()))


def public_key() -> str:
    """The line that a host's authorized_keys must hold; empty where there is no key."""
    file = IDENTITY.with_suffix(".pub")
    return file.read_text().strip() if file.is_file() else ""


def new_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair without a passphrase at `path`, over any old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def authorize(host: Host) -> None:
    """Let the lab's key in as root on a host's disk; keys that others put there stay."""
    file = host.root / "root" / ".ssh" / "authorized_keys"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    lines = file.read_text().splitlines() if file.is_file() else []
    if public_key() not in lines:
        file.write_text("\n".join([*lines, public_key(), ""]))


def remember(hosts: Iterable[Host]) -> None:
    """Write the known keys of all hosts that have a disk."""
    lines = []
    for host in hosts:
        file = host.root / HOST_KEY.with_suffix(".pub")
        if file.is_file():
            kind, key, *_ = file.read_text().split()
            lines.append(f"{host.name},{host.address} {kind} {key}\n")
    KNOWN_HOSTS.write_text("".join(lines))


def client_config(hosts: Iterable[Host]) -> str:
    """The text of an ssh_config(5) in which every host has its name."""
    entries = [f"Host {host.name} {host.address}\n    HostName {host.address}\n" for host in hosts]
    common = (
        "Host *\n"
        "    User root\n"
        f"    IdentityFile {IDENTITY}\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {KNOWN_HOSTS}\n"
        "    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n"
        "    ConnectTimeout 10\n"
    )
    return "\n".join([*entries, common])


def command(host: Host, *words: str, options: Sequence[str] = ()) -> list[str]:
    """The command line that logs in to a host, or runs `words` in its shell."""
    return [*netns.enter(), "ssh", "-F", str(CONFIG), *options, host.name, *words]
