"""GF_* settings, with GF_*__FILE read as Grafana's packaging/docker/run.sh reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import StandInError

FILE_SUFFIX = "__FILE"


@dataclass(frozen=True)
class Environment:
    """The settings in use; Grafana has many more, and an unknown one is ignored as there."""

    address: str
    port: int
    admin_user: str
    admin_password: str
    provisioning: Path
    data: Path
    variables: Mapping[str, str]


def load(environ: Mapping[str, str]) -> Environment:
    """Read the settings. StandInError: a variable and its __FILE are both set, or unreadable."""
    variables = dict(environ)
    for name, path in environ.items():
        if not (name.startswith("GF_") and name.endswith(FILE_SUFFIX) and path):
            continue
        plain = name.removesuffix(FILE_SUFFIX)
        if environ.get(plain):
            raise StandInError(f"Both {plain} and {name} are set (but are exclusive)")
        try:
            variables[plain] = Path(path).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise StandInError(f"{name} names {path}, which cannot be read: {error}") from error
        del variables[name]
    port = variables.get("GF_SERVER_HTTP_PORT", "3000")
    if not port.isdecimal():
        raise StandInError(f"GF_SERVER_HTTP_PORT is {port!r}, a port number is needed")
    return Environment(
        address=variables.get("GF_SERVER_HTTP_ADDR", ""),
        port=int(port),
        admin_user=variables.get("GF_SECURITY_ADMIN_USER", "admin"),
        admin_password=variables.get("GF_SECURITY_ADMIN_PASSWORD", "admin"),
        provisioning=Path(variables.get("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning")),
        data=Path(variables.get("GF_PATHS_DATA", "/var/lib/grafana")),
        variables=variables,
    )
