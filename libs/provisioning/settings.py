"""What there is to provision: the addresses that the services use too. Nothing else here reads the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The same names and defaults as in the services. An empty database URL: that service is not of this stack."""

    model_config = SettingsConfigDict(frozen=True)

    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    # Servers of a NATS cluster that hold each stream; with 3 the loss of any one loses nothing.
    nats_replicas: int = Field(default=1, ge=1, le=5, validation_alias="NATS_REPLICAS")
    chat_worker_database_url: str = Field(
        default="sqlite+aiosqlite:///data/chat_worker.db", validation_alias="CHAT_WORKER_DATABASE_URL"
    )
    task_service_database_url: str = Field(
        default="sqlite+aiosqlite:///data/task_service.db", validation_alias="TASK_SERVICE_DATABASE_URL"
    )
