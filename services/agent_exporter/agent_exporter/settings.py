"""Configuration from environment variables."""

from pathlib import Path

from pydantic import AnyHttpUrl
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Where to listen and the four sources."""

    host: str = "0.0.0.0"
    port: int = 9090
    postgres_host: str = "ml_postgres"
    postgres_port: int = 5432
    postgres_db: str = "ml_db"
    postgres_user: str = "agent_exporter"
    postgres_password_file: Path = Path("/run/secrets/postgres_agent_exporter")
    qdrant_url: AnyHttpUrl = AnyHttpUrl("http://qdrant_new:6333")
    qdrant_api_key_file: Path | None = None
    saiga_metrics_url: AnyHttpUrl = AnyHttpUrl("http://saiga_saiga_1:8010/metrics")
    dcgm_metrics_url: AnyHttpUrl = AnyHttpUrl("http://dcgm-exporter:9400/metrics")
