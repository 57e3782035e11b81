"""`.env.example` lists every setting that exists, with the default that is in force."""

import importlib
import re

import pytest
from pydantic_settings import BaseSettings

from tests.architecture import source

# `NAME=value`, or the same as a comment: a line that a person can switch on.
SETTING = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


def settings_classes() -> list[type[BaseSettings]]:
    modules = [m for m in source.modules("libs", "services") if m.name == "settings.py"]
    loaded = [importlib.import_module(".".join(module.with_suffix("").parts)) for module in modules]
    return [module.Settings for module in loaded if hasattr(module, "Settings")]


def names(settings: type[BaseSettings]) -> dict[str, str]:
    """The variable behind each field."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    return {
        field: str(info.validation_alias) if info.validation_alias else f"{prefix}{field}".upper()
        for field, info in settings.model_fields.items()
    }


def compose_variables() -> set[str]:
    """What docker-compose.yml takes from `.env` itself."""
    return set(re.findall(r"\$\{([A-Z_]+)", (source.ROOT / "docker-compose.yml").read_text(encoding="utf-8")))


def example() -> dict[str, str]:
    return dict(SETTING.findall((source.ROOT / ".env.example").read_text(encoding="utf-8")))


def test_the_example_names_exactly_the_settings_that_exist() -> None:
    """No setting is hidden, and none is described that nobody reads."""
    read = {name for settings in settings_classes() for name in names(settings).values()}
    assert set(example()) == read | compose_variables()


@pytest.mark.parametrize("settings", settings_classes(), ids=lambda settings: settings.__module__)
def test_the_example_as_it_stands_changes_nothing(
    settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every value in it is the default; an empty one means that there is none."""
    for name in names(settings).values():
        monkeypatch.delenv(name, raising=False)
    defaults = settings()
    for name, value in example().items():
        if value:
            monkeypatch.setenv(name, value)
    assert settings() == defaults
