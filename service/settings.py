"""How the process runs. What changes an answer is not here but in the manifest of the model."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment, each name with the prefix `SEGUE_`; `docs/settings.md` lists them."""

    model_config = SettingsConfigDict(env_prefix="SEGUE_", frozen=True)

    models: Path = Field(Path("models"), description="Directory of the store that the trainer publishes to.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="Least severe level that is logged."
    )
    access_log: bool = Field(False, description="Whether each request is logged.")
    open_interval_s: float = Field(
        1.0, gt=0, description="Seconds between two attempts to open a model while none is open."
    )
