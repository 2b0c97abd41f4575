"""Configuration: ``chronicle.toml``, its environment overrides, and where a home's memory lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.config.load import CONFIG_NAME, load_settings
    from chronicle.config.settings import Settings

__all__ = ["CONFIG_NAME", "Settings", "load_settings"]

_HOMES = {"CONFIG_NAME": "load", "Settings": "settings", "load_settings": "load"}

__getattr__ = lazy_names(__name__, _HOMES)
