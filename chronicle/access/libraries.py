"""Libraries that the extras bring: imported when they are asked for; an absent one is told with its extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from chronicle.core.errors import ConfigError

__all__ = ["library"]


def library(name: str, extra: str = "frames") -> Any:
    """Import a library that an extra brings.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is needed for this and is not installed", hint=f"pip install 'chronicle-md[{extra}]'"
        ) from error
