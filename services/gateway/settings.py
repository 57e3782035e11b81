"""The gateway's settings. Nothing else in this service reads the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.runtime.logs import LogFormat


class Settings(BaseSettings):
    """Read from `GATEWAY_*`, and from the names without prefix that all services share."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=3001, ge=0, le=65535)
    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    valkey_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="VALKEY_URL")
    log_format: LogFormat = Field(default="auto", validation_alias="LOG_FORMAT")
    log_level: str = Field(default="INFO", validation_alias="LOG_LEVEL")

    max_frame_bytes: int = Field(default=64 * 1024, ge=1024, le=200 * 1024)
    requests_per_minute: int = Field(default=120, ge=1)
    burst: int = Field(default=20, ge=1)
    subscriptions: int = Field(default=128, ge=1)
    # What may wait for a client that does not read; more closes its connection with 4102.
    send_queue_bytes: int = Field(default=1024**2, ge=64 * 1024)
    # Over how long a stopping gateway sends its clients away, so that they do not all come back at once.
    drain_seconds: float = Field(default=2.0, ge=0, le=60)
