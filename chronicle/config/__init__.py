"""Configuration: ``chronicle.toml``, its environment overrides, and where a home's memory lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronicle.config.load import CONFIG_NAME, load_settings
    from chronicle.config.settings import Settings

__all__ = ["CONFIG_NAME", "Settings", "load_settings"]

_HOMES = {"CONFIG_NAME": "load", "Settings": "settings", "load_settings": "load"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562): a command that only formats sizes loads no settings."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'chronicle.config' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"chronicle.config.{home}"), name)
