"""The chat worker's settings. Nothing else in this service reads the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.runtime.logs import LogFormat


class Settings(BaseSettings):
    """Read from `CHAT_WORKER_*`, and from the names without prefix that all services share."""

    model_config = SettingsConfigDict(env_prefix="CHAT_WORKER_", frozen=True, protected_namespaces=())

    host: str = "127.0.0.1"
    port: int = Field(default=3011, ge=0, le=65535)
    database_url: str = "sqlite+aiosqlite:///data/chat_worker.db"
    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    log_format: LogFormat = Field(default="auto", validation_alias="LOG_FORMAT")
    log_level: str = Field(default="INFO", validation_alias="LOG_LEVEL")

    lm_studio_url: str = Field(default="http://localhost:1234/v1", validation_alias="LM_STUDIO_URL")
    # Answers while nobody does at the first; empty: there is none. docker-compose.yml has the built-in model there.
    lm_studio_fallback_url: str = Field(default="", validation_alias="LM_STUDIO_FALLBACK_URL")
    lm_studio_api_key: str | None = Field(default=None, validation_alias="LM_STUDIO_API_KEY")
    # Answers a request that names no model; unset: the first loaded one.
    lm_studio_model: str | None = Field(default=None, validation_alias="LM_STUDIO_MODEL")
    system_prompt: str = "You are a helpful assistant."

    # Answers that one worker runs at once; the model server queues what is over its own number of slots.
    slots: int = Field(default=100, ge=1, le=1000)
    # How long a stopping worker lets its answers run before it hands them to another.
    grace_seconds: float = Field(default=20, ge=0)
    connect_seconds: float = Field(default=2, gt=0)
    # A model server sends nothing while it loads a model and reads the prompt, which can take minutes.
    first_byte_seconds: float = Field(default=600, gt=0)
    idle_seconds: float = Field(default=120, gt=0)
    total_seconds: float = Field(default=1800, gt=0)
