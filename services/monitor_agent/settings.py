"""The monitor agent's settings. Nothing else in this service reads the environment."""

import socket
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.runtime.logs import LogFormat


class Settings(BaseSettings):
    """Read from `MONITOR_AGENT_*`, and from the names without prefix that all services share."""

    model_config = SettingsConfigDict(env_prefix="MONITOR_AGENT_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=3021, ge=0, le=65535)
    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    valkey_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="VALKEY_URL")
    lm_studio_url: str = Field(default="http://localhost:1234/v1", validation_alias="LM_STUDIO_URL")
    log_format: LogFormat = Field(default="auto", validation_alias="LOG_FORMAT")
    log_level: str = Field(default="INFO", validation_alias="LOG_LEVEL")

    # The name under which this machine is shown; empty: its own. In a container that would be the container's.
    host_name: str = Field(default="", max_length=255)
    # Where the root of the machine's files is: in a container, where it was mounted.
    host_root: Path = Path("/")
    interval_seconds: int = Field(default=10, ge=1, le=60)

    @property
    def shown_host(self) -> str:
        return self.host_name or socket.gethostname()
