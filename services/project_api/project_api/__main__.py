"""Runs the server."""

import sys

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from project_api import log
from project_api.app import create_app
from project_api.settings import Settings

SHUTDOWN_TIMEOUT = 8


def main() -> None:
    """Serve until told to stop; a wrong configuration ends the program with a sentence a fault."""
    log.configure()
    try:
        settings = Settings()  # type: ignore[call-arg]
    except (ValidationError, SettingsError) as error:
        for sentence in _sentences(error):
            print(f"project_api: {sentence}", file=sys.stderr)
        raise SystemExit(2) from None
    uvicorn.run(
        create_app(settings),
        host="0.0.0.0",
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )


def _sentences(error: ValidationError | SettingsError) -> list[str]:
    if isinstance(error, SettingsError):
        return [str(error)]
    sentences = []
    # The input is left out: it may be a secret.
    for fault in error.errors(include_input=False, include_context=False, include_url=False):
        message = fault["msg"].removeprefix("Value error, ")
        name = "_".join(str(part) for part in fault["loc"]).upper()
        sentences.append(f"{name}: {message}" if name else message)
    return sentences


if __name__ == "__main__":
    main()
