"""Configuration from environment variables."""

from pathlib import Path

from pydantic import AnyHttpUrl
from pydantic_settings import BaseSettings

MIN_KEY_BYTES = 32


class Settings(BaseSettings):
    """HOST, PORT, PROJECT_API_URL and SESSION_KEY_FILE."""

    host: str = "0.0.0.0"
    port: int = 8080
    project_api_url: AnyHttpUrl = AnyHttpUrl("http://project_api:8000")
    session_key_file: Path = Path("/run/secrets/webbot2_session")

    def session_key(self) -> bytes:
        """The signing key without surrounding white space.

        Raises ValueError when the file cannot be read or holds fewer than 32 bytes.
        """
        try:
            key = self.session_key_file.read_bytes().strip()
        except OSError as error:
            raise ValueError(f"SESSION_KEY_FILE: {error}") from error
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(
                f"SESSION_KEY_FILE: {self.session_key_file} holds {len(key)} bytes, "
                f"at least {MIN_KEY_BYTES} are needed"
            )
        return key
