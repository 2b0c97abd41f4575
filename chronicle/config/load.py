"""From ``chronicle.toml`` and the environment to :class:`Settings`; what is not understood is an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from chronicle.config.settings import (
    AgentSettings,
    EtlSettings,
    FeedSettings,
    HoldSettings,
    HomeSettings,
    LiveSettings,
    MulticastSettings,
    PolicyRule,
    RawSettings,
    Settings,
    ShardSettings,
    TierSettings,
)
from chronicle.config.values import globs, name
from chronicle.core.errors import ConfigError

__all__ = ["CONFIG_NAME", "keys_of", "load_settings", "settings_of"]

CONFIG_NAME = "chronicle.toml"
CONFIG_BYTES_MAX = 4 * 2**20
SECTIONS: dict[str, type[Any]] = {
    "home": HomeSettings,
    "raw": RawSettings,
    "feed": LiveSettings,
    "etl": EtlSettings,
    "agent": AgentSettings,
}
LISTS: dict[str, type[Any]] = {
    "tiers": TierSettings,
    "policy": PolicyRule,
    "holds": HoldSettings,
    "feeds": FeedSettings,
    "multicast": MulticastSettings,
}
ENVIRONMENT_PREFIX = "CHRONICLE_"


def load_settings(home: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings of `home`: defaults, then its ``chronicle.toml`` if there is one, then `environ`.

    Raises
    ------
    ConfigError
        When the file cannot be read or parsed, or a key or value is not one of ours; with close matches.
    """
    path = home / CONFIG_NAME
    return settings_of(_parse(path), environ, path=path)


def settings_of(tables: Mapping[str, Any], environ: Mapping[str, str], *, path: Path | None = None) -> Settings:
    """Return the settings in parsed TOML `tables`, overridden by ``CHRONICLE_SECTION_KEY`` of `environ`."""
    _refuse_unknown(tables, [*SECTIONS, *LISTS], "section", path)
    parts: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        table = _as_table(tables.get(section, {}), f"[{section}]", path)
        values = _read_table(kind, table, f"[{section}]", path)
        parts[section] = kind(**values | _read_environment(section, kind, environ))
    for section, kind in LISTS.items():
        if section in tables:
            rows = _as_rows(tables[section], section, path)
            parts[section] = tuple(
                kind(**_read_table(kind, row, f"[[{section}]] number {at}", path)) for at, row in enumerate(rows, 1)
            )
    settings = Settings(**parts)
    for at, feed in enumerate(settings.feeds, 1):
        if not feed.venue or not feed.symbols:
            raise ConfigError(f"[[feeds]] number {at} needs a venue and symbols", path=path)
    for at, multicast in enumerate(settings.multicast, 1):
        if not multicast.venue or not multicast.groups:
            raise ConfigError(f"[[multicast]] number {at} needs a venue and groups", path=path)
    _check_tiers(settings, policy_given="policy" in tables, path=path)
    return settings


def keys_of(kind: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the settings of a section's dataclass by their names in the file."""
    return {str(item.metadata.get("key") or item.name): item for item in dataclasses.fields(kind)}


def _parse(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        if path.is_file() and path.stat().st_size > CONFIG_BYTES_MAX:
            raise ConfigError(
                "the configuration file is too large", path=path, expected=f"at most {CONFIG_BYTES_MAX} bytes"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise ConfigError(
            "the home is a file, not a folder", path=path.parent, hint="give a folder to --home"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read the configuration: {error.strerror}", path=path) from error
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"cannot read the configuration as TOML: {error}", path=path) from error


def _read_table(kind: type[Any], table: Mapping[str, Any], where: str, path: Path | None) -> dict[str, Any]:
    known = keys_of(kind)
    _refuse_unknown(table, known, f"key in {where}", path)
    return {known[key].name: _read(known[key], value, f"{where} {key}", path) for key, value in table.items()}


def _read(item: dataclasses.Field[Any], value: object, where: str, path: Path | None) -> Any:
    reader: Callable[[object], Any] = item.metadata.get("read") or _shards
    try:
        return reader(value)
    except ValueError as error:
        raise ConfigError(f"cannot use {where}: {error}", path=path) from error


def _read_environment(section: str, kind: type[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"{ENVIRONMENT_PREFIX}{section.upper()}_"
    known = {prefix + key.upper(): item for key, item in keys_of(kind).items()}
    values: dict[str, Any] = {}
    for variable in sorted(environ):
        if not variable.startswith(prefix):
            continue
        _refuse_unknown([variable], known, "variable in the environment", None)
        item = known[variable]
        values[item.name] = _read(item, environ[variable], variable, None)
    return values


SHARD_KEYS = ("symbols", "venues", "hash")


def _shards(value: object) -> tuple[ShardSettings, ...]:
    """Read {default = ["*"]}, or default=kraken:*,binance:*;rest=okx:* from the environment.

    A shard may be a table of symbols, venues and hash; in the environment ``half=hash=1/2,okx:*``.
    """
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split(";") if part.strip()]
        value = {left.strip(): _shard_table(right) for left, _, right in parts}
    if not isinstance(value, dict) or not value:
        raise ValueError(f'{value!r} is not a table of shards such as {{ default = ["*"] }}')
    return tuple(_shard(name(key), item) for key, item in value.items())


def _shard_table(text: str) -> dict[str, object]:
    """Read ``hash=1/2,venues=okx,BTC*`` as a table."""
    table: dict[str, list[str]] = {}
    for item in text.split(","):
        key, mark, word = item.partition("=")
        table.setdefault(key.strip() if mark else "symbols", []).append(word if mark else item)
    return {key: ",".join(words) if key == "hash" else words for key, words in table.items()}


def _shard(shard: str, value: object) -> ShardSettings:
    from chronicle.core.selection import Selection, parse_share

    if not isinstance(value, dict):
        return ShardSettings(shard, globs(value))
    unknown = [key for key in value if key not in SHARD_KEYS]
    if unknown or not value:
        found = f"has no {unknown[0]!r}" if unknown else "is empty"
        raise ValueError(f"shard {shard} {found}: {', '.join(SHARD_KEYS)} are known")
    symbols = globs(value["symbols"]) if "symbols" in value else ("*",)
    venues = tuple(word.lower() for word in globs(value["venues"])) if "venues" in value else ()
    share = value.get("hash", "1/1")
    if not isinstance(share, str):
        raise ValueError(f'{share!r} is not a share such as "2/8"')  # noqa: TRY004 - as all readers
    try:
        chosen = Selection(symbols, venues, parse_share(share))
    except ConfigError as error:
        raise ValueError(f"shard {shard}: {error}") from error
    return ShardSettings(shard, chosen.symbols, chosen.venues, chosen.share)


def _check_tiers(settings: Settings, *, policy_given: bool, path: Path | None) -> None:
    names = [tier.name for tier in settings.tiers]
    for at, tier in enumerate(settings.tiers, 1):
        if not tier.name or not tier.path:
            raise ConfigError(
                f"[[tiers]] number {at} needs a name and a path", path=path, found=tier.name or "no name"
            )
        if names.count(tier.name) > 1:
            raise ConfigError(f"two tiers are called {tier.name!r}", path=path, hint="give each its own name")
    hot = [tier.name for tier in settings.tiers if tier.tier_class == "hot"]
    if hot != ["hot"] or any(tier.path != "." for tier in settings.tiers if tier.name == "hot"):
        raise ConfigError(
            "exactly one tier must be of class hot, called hot, with the path '.': the home itself",
            path=path,
            found=", ".join(hot) or "none",
        )
    if not policy_given:
        return
    for at, rule in enumerate(settings.policy, 1):
        for label, tier_name in (("from", rule.source), ("to", rule.target)):
            if (label, tier_name) == ("to", "delete"):
                if rule.source == "hot":
                    raise ConfigError(
                        f"[[policy]] number {at} deletes from hot",
                        path=path,
                        hint="chronicle queue retain does that; a policy deletes from tiers below hot",
                    )
                continue
            if tier_name not in names:
                raise ConfigError(
                    f"[[policy]] number {at} {label} names a tier that is not there",
                    path=path,
                    expected=", ".join(names),
                    found=tier_name,
                )
        if rule.source == rule.target:
            raise ConfigError(f"[[policy]] number {at} moves from {rule.source} to itself", path=path)


def _as_table(value: object, where: str, path: Path | None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a section", path=path, expected="key = value lines", found=repr(value))
    return value


def _as_rows(value: object, section: str, path: Path | None) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ConfigError(
            f"{section} must be a list of sections", path=path, expected=f"[[{section}]]", found=repr(value)
        )
    return value


def _refuse_unknown(given: Iterable[str], known: Iterable[str], what: str, path: Path | None) -> None:
    names = list(known)
    for key in given:
        if key in names:
            continue
        import difflib

        close = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are: {', '.join(names)}"
        raise ConfigError(f"there is no {what} called {key!r}", path=path, hint=hint)
