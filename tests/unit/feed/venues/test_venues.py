"""The list of venues."""

from __future__ import annotations

import pytest

from chronicle.core.errors import ConfigError
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for, venues


def test_every_venue_has_an_adapter_of_its_name() -> None:
    for venue in venues():
        assert adapter_for(venue.name.upper(), InstrumentRegistry()).venue == venue.name
        assert set(venue.to_dict()) == {"name", "description", "channels", "captures"}


def test_former_name_of_a_venue_is_taken_and_an_unknown_one_is_an_error() -> None:
    assert adapter_for("OKEX", InstrumentRegistry()).venue == "okx"
    with pytest.raises(ConfigError, match="kraken"):
        adapter_for("mtgox", InstrumentRegistry())
