"""GF_* settings, with $__file{PATH} in them read as Grafana's pkg/setting/expanders.go reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import StandInError

FILE = re.compile(r"\$__file\{([^}]+)\}")


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
    """Read the settings. StandInError: one names a file that cannot be read."""
    variables = dict(environ)
    for name, value in environ.items():
        if name.startswith("GF_"):
            try:
                variables[name] = FILE.sub(
                    lambda match: Path(match[1]).read_text(encoding="utf-8").strip(), value
                )
            except OSError as error:
                raise StandInError(f"{name}: {value} cannot be read: {error}") from error
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
