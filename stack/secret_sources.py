"""Secrets that a site supplies itself, from a file or an environment variable of the controller."""

import os
import re
from pathlib import Path

from pydantic import SecretStr

from stack.secrets import SECRETS
from stack.site import SecretSource, Site, SiteError

# What psql, YAML and an HTTP header take as it is.
VALUE = re.compile(r"[A-Za-z0-9_.~+/=@%^:,-]{,256}")


def supplied(site: Site) -> dict[str, SecretStr]:
    """Name to value of every secret that the site supplies.

    Raises SiteError, with the path of the value, when one cannot be read or used.
    """
    return {name: SecretStr(_value(site, name)) for name in site.secrets}


def registry_password(site: Site, registry: str) -> SecretStr:
    """The password for a registry that asks for one. Raises SiteError as :func:`supplied`."""
    source = site.docker.registries[registry].password
    assert source
    path = f"docker.registries.{registry}.password"
    value = _read(source, path)
    if not value or not value.isprintable():
        raise SiteError(f"{path}: its value has to be one line of text")
    return SecretStr(value)


def text_of(file: str, path: str) -> str:
    """A text file of the controller without its last newlines; ``path`` is that of the value."""
    try:
        return Path(file).expanduser().read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"{path}: {file} cannot be read: {error}") from None


def _value(site: Site, name: str) -> str:
    path = f"secrets.{name}"
    value = _read(site.secrets[name], path)
    least = next(secret.least for secret in SECRETS if secret.name == name)
    if len(value) < least or not VALUE.fullmatch(value):
        raise SiteError(
            f"{path}: its value has to be {least} to 256 characters out of letters, digits and"
            " _.~+/=@%^:,-"
        )
    return value


def _read(source: SecretSource, path: str) -> str:
    if source.file:
        return text_of(source.file, f"{path}.file")
    assert source.environment
    value = os.environ.get(source.environment)
    if value is None:
        raise SiteError(f"{path}.environment: {source.environment} is not set here")
    return value
