"""Public names that load on first use (PEP 562), so that importing a package costs nothing that is not needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of `package`: each name of `homes` is imported from its module when asked for.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    homes : mapping of str to str
        Public name to module, relative to `package` unless it is a full one of ours.
    """

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = home if home.startswith("chronicle.") else f"{package}.{home}"
        return getattr(import_module(module), name)

    return load
