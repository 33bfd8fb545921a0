"""Secrets that a site supplies itself, from a file or an environment variable of the controller."""

import os
import re
from pathlib import Path

from pydantic import SecretStr

from stack.secrets import SECRETS
from stack.site import Site, SiteError

# What psql, YAML and an HTTP header take as it is.
VALUE = re.compile(r"[A-Za-z0-9_.~+/=@%^:,-]{,256}")


def supplied(site: Site) -> dict[str, SecretStr]:
    """Name to value of every secret that the site supplies.

    Raises SiteError, with the path of the value, when one cannot be read or used.
    """
    return {name: SecretStr(_value(site, name)) for name in site.secrets}


def _value(site: Site, name: str) -> str:
    source, path = site.secrets[name], f"secrets.{name}"
    if source.environment:
        value = os.environ.get(source.environment)
        if value is None:
            raise SiteError(f"{path}.environment: {source.environment} is not set here")
    else:
        assert source.file
        try:
            value = Path(source.file).expanduser().read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SiteError(f"{path}.file: {source.file} cannot be read: {error}") from None
    least = next(secret.least for secret in SECRETS if secret.name == name)
    if len(value) < least or not VALUE.fullmatch(value):
        raise SiteError(
            f"{path}: its value has to be {least} to 256 characters out of letters, digits and"
            " _.~+/=@%^:,-"
        )
    return value
