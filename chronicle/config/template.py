"""The commented ``chronicle.toml`` that ``chronicle init`` writes: generated from the settings' declarations."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from chronicle.config.load import SECTIONS, keys_of
from chronicle.config.settings import DEFAULT_TIERS, FeedSettings, MulticastSettings, PolicyRule, TierSettings

__all__ = ["render_template"]

_HEAD = """\
# Settings of this Chronicle home. A line that starts with # shows a default; remove the # to change it.
# The environment overrides: CHRONICLE_SECTION_KEY, as CHRONICLE_RAW_SEGMENT_BYTES="16 MiB".
# Every key is explained in docs/configuration.md.
"""

_POLICY = """\
# When sealed segments move on; the first rule that matches a queue counts. Without any [[policy]]:
# everything from hot to warm 2 hours after it was sealed, and from warm to cold after 7 days (if there is one).
# [[policy]]
"""

_FEEDS = """\
# Live connections of `chronicle feed run` without --venue. An example:
# [[feeds]]
"""

_MULTICAST = """\
# Feeds of `chronicle feed run` that come by multicast. An example:
# [[multicast]]
"""


def render_template(home_id: str) -> str:
    """Return the text of a new home's configuration: only the id is set, everything else shows its default."""
    parts = [_HEAD]
    for section, kind in SECTIONS.items():
        lines = [f"[{section}]"]
        for key, item in keys_of(kind).items():
            lines += _comment(item.metadata["doc"])
            if (section, key) == ("home", "id"):
                lines.append(f"id = {json.dumps(home_id)}")
            else:
                lines.append(
                    f"# {key} = {item.metadata['example'] if item.metadata.get('example') else _toml(item.default)}"
                )
        parts.append("\n".join(lines) + "\n")
    parts.append(_tiers())
    parts.append(_POLICY + _rows(PolicyRule))
    parts.append(_FEEDS + _rows(FeedSettings))
    parts.append(_MULTICAST + _rows(MulticastSettings))
    return "\n".join(parts)


def _tiers() -> str:
    lines = ["# Where sealed segments may live. Without any [[tiers]], these two:"]
    for tier in DEFAULT_TIERS:
        lines.append("# [[tiers]]")
        for key, item in keys_of(TierSettings).items():
            value, example = getattr(tier, item.name), item.metadata.get("example")
            lines.append(f"# {key} = {example if example and value == item.default else _toml(value)}")
    return "\n".join(lines) + "\n"


def _rows(kind: type[Any]) -> str:
    lines = []
    for key, item in keys_of(kind).items():
        lines.append(f"# {key} = {item.metadata.get('example') or _toml(item.default)}")
    return "\n".join(lines) + "\n"


def _comment(doc: str) -> list[str]:
    return textwrap.wrap(doc, 108, initial_indent="# ", subsequent_indent="# ")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value)
