"""Registries that ask for a login or have a certificate of the site's own authority."""

import shlex
from collections.abc import Iterator

from stack.machine.files import HostFile
from stack.machine.observe import CERTIFICATES
from stack.secret_sources import text_of
from stack.site import Site

# Docker writes it with tabs, one entry a line.
_LOGINS = 'tr -d " \\t\\n" 2>/dev/null <"${DOCKER_CONFIG:-$HOME/.docker}/config.json"'


def authorities(site: Site) -> Iterator[HostFile]:
    """The certificates by which Docker knows a registry; it looks at them with each pull.

    Raises SiteError, with the path of the value, when one cannot be read.
    """
    for name, registry in site.docker.registries.items():
        if registry.ca:
            text = text_of(registry.ca, f"docker.registries.{name}.ca")
            yield HostFile(f"{CERTIFICATES}/{name}/ca.crt", text + "\n")


def logged_in(registry: str) -> str:
    """A shell command that says whether root has the login ``user:password`` of its input."""
    entry = shlex.quote(f'"{registry}":{{"auth":"')
    return (
        f"login=$(tr -d '\\n' | base64 -w0) && case $({_LOGINS}) in"
        f' *{entry}"$login"\\"*) ;; *) false ;; esac'
    )


def log_in(registry: str, user: str) -> str:
    """A shell command that logs root in with the password of its input."""
    return f"docker login --username {shlex.quote(user)} --password-stdin {registry} >/dev/null"
