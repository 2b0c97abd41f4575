"""Configuration: ``chronicle.toml``, its environment overrides, and where a home's memory lives."""

from __future__ import annotations

from chronicle.config.load import CONFIG_NAME, load_settings
from chronicle.config.settings import Settings

__all__ = ["CONFIG_NAME", "Settings", "load_settings"]
