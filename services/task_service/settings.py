"""The task service's settings. Nothing else in this service reads the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.runtime.logs import LogFormat


class Settings(BaseSettings):
    """Read from `TASK_SERVICE_*`, and from the names without prefix that all services share."""

    model_config = SettingsConfigDict(env_prefix="TASK_SERVICE_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=3013, ge=0, le=65535)
    database_url: str = "sqlite+aiosqlite:///data/task_service.db"
    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    log_format: LogFormat = Field(default="auto", validation_alias="LOG_FORMAT")
    log_level: str = Field(default="INFO", validation_alias="LOG_LEVEL")
