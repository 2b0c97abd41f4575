"""Settings: what is understood, and that nothing else is accepted in silence."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from chronicle.config import load_settings
from chronicle.config.load import LISTS, SECTIONS, keys_of, settings_of
from chronicle.config.settings import PolicyRule, Settings, ShardSettings
from chronicle.config.template import render_template
from chronicle.config.units import format_bytes, format_duration, parse_bytes, parse_duration
from chronicle.core.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]


def settings(toml: str, **environ: str) -> Settings:
    return settings_of(tomllib.loads(toml), environ)


def test_an_absent_file_gives_the_defaults(tmp_path):
    assert load_settings(tmp_path, {}) == Settings()
    assert load_settings(tmp_path / "absent", {}) == Settings()


def test_file_then_environment():
    found = settings(
        '[raw]\nsegment_bytes = "1 MiB"\nmemory = "home"\n', CHRONICLE_RAW_SEGMENT_BYTES="2MiB", OTHER="1"
    )
    assert (found.raw.segment_bytes, found.raw.memory) == (2 * 2**20, "home")
    assert settings("[etl]\nsnapshot_interval = '5s'").etl.snapshot_interval_ns == 5 * 10**9


def test_shards_from_file_and_environment():
    wanted = (ShardSettings("a", ("kraken:*",)), ShardSettings("b", ("okx:*", "binance:*")))
    assert settings('[etl]\nshards = { a = ["kraken:*"], b = ["okx:*", "binance:*"] }').etl.shards == wanted
    assert settings("", CHRONICLE_ETL_SHARDS="a=kraken:*;b=okx:*,binance:*").etl.shards == wanted


def test_shards_by_venue_and_hash():
    wanted = (ShardSettings("a", ("*",), ("okx", "kraken"), (1, 2)), ShardSettings("b", ("*BTC*",), (), (2, 2)))
    toml = 'shards = { a = { venues = ["OKX", "kraken"], hash = "1/2" }, b = { hash = "2/2", symbols = ["*BTC*"] } }'
    assert settings(f"[etl]\n{toml}").etl.shards == wanted
    text = "a=venues=okx,venues=kraken,hash=1/2;b=*BTC*,hash=2/2"
    assert settings("", CHRONICLE_ETL_SHARDS=text).etl.shards == wanted


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[raw]\nsegmnt_bytes = 1", "did you mean segment_bytes?"),
        ("[rawe]\nx = 1", "did you mean raw?"),
        ("[raw]\nsegment_bytes = 1", "out of range"),
        ("[raw]\nsegment_bytes = '64 parsecs'", "is not a size"),
        ("[raw]\nsegment_bytes = true", "is not a size"),
        ("[raw]\nmemory = 'ram'", "auto, shm, home"),
        ("[etl]\nsnapshot_interval = 60", "has no unit"),
        ("[etl]\nsnapshot_interval = '60'", "has no unit"),
        ("[etl]\nsnapshot_deltas = 0", "out of range"),
        ("[etl]\nsnapshot_deltas = 1.5", "whole number"),
        ("[etl]\nshards = ['kraken:*']", "table of shards"),
        ("[etl]\nshards = { a = [] }", "list of patterns"),
        ("[etl]\nshards = { '../x' = ['*'] }", "is not a name"),
        ("[etl]\nshards = { a = {} }", "is empty"),
        ("[etl]\nshards = { a = { venue = 'okx' } }", "symbols, venues, hash are known"),
        ("[etl]\nshards = { a = { hash = '3/2' } }", "out of range"),
        ("[etl]\nshards = { a = { hash = '2' } }", "is no share"),
        ("[etl]\nshards = { a = { hash = 2 } }", "is not a share"),
        ("raw = 3", "must be a section"),
        ("tiers = 3", "list of sections"),
        ("[[tiers]]\nname = 'hot'", "needs a name and a path"),
        ("[[tiers]]\nname='a'\npath='.'\nclass='warm'", "exactly one tier must be of class hot"),
        ("[[tiers]]\nname='a'\npath='.'\nclass='hot'\n[[tiers]]\nname='a'\npath='b'", "two tiers"),
        ("[[policy]]\nto = 'artic'", "names a tier that is not there"),
        ("[[policy]]\nfrom='hot'\nto = 'hot'", "to itself"),
        ("[[policy]]\nafter = '-2h'", "is not a duration"),
        ("[[feeds]]\nvenue='kraken'", "needs a venue and symbols"),
        ("[[feeds]]\nvenue='kraken'\nsymbols=['BTC-USD']\nchannels=['boks']", "book, trade, quote"),
        ("[[feeds]]\nvenue='kraken'\nsymbols='BTC-USD'", "list of words"),
        ("[[multicast]]\nvenue='nasdaq'", "needs a venue and groups"),
        ("[[multicast]]\nvenue='nasdaq'\ngroups=['239.1.1.1:1']\nretry='soon'", "is not a duration"),
        ("[agent]\nraw_waits_for_etl = 'perhaps'", "true or false"),
        ("[agent]\ngrace = 'soon'", "is not a duration"),
        ("[[tiers]]\nname='hot'\npath='/x'\nclass='hot'", "the home itself"),
        ("[home]\nid = '../../etc'", "is not a name"),
    ],
)
def test_what_is_not_understood_is_an_error_that_helps(toml, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        settings(toml)


def test_environment_of_a_known_section_with_an_unknown_key_is_refused():
    with pytest.raises(ConfigError, match="did you mean CHRONICLE_RAW_SEGMENT_BYTES"):
        settings("", CHRONICLE_RAW_SEGMENT_BYTE="1")
    with pytest.raises(ConfigError, match="CHRONICLE_ETL_SNAPSHOT_DELTAS"):
        settings("", CHRONICLE_ETL_SNAPSHOT_DELTAS="many")


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"[raw", b"a" * (5 * 2**20), b"[" * 100_000], ids=["utf8", "cut", "big", "deep"]
)
def test_a_broken_file_is_a_clear_error(tmp_path, data):
    (tmp_path / "chronicle.toml").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {})
    assert caught.value.path == str(tmp_path / "chronicle.toml")


def test_template_is_the_defaults_and_its_comments_are_valid():
    text = render_template("abc")
    assert settings(text) == settings('[home]\nid = "abc"')
    sections = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [[") else "" for line in text.splitlines()
    ]
    live = [
        line if line.startswith("[") or not new else new
        for line, new in zip(text.splitlines(), sections, strict=True)
    ]
    found = settings("\n".join(line for line in live if not line.startswith("#")))
    assert (found.raw, found.etl, found.agent) == (Settings().raw, Settings().etl, Settings().agent)
    assert found.tiers == Settings().tiers
    assert found.feeds[0].symbols == ("BTC-USD", "ETH-USD")
    assert found.multicast[0].groups == ("233.54.12.111:26477", "233.49.196.111:26477")
    assert found.policy == (PolicyRule(match=("clean/*",)),)


def test_document_names_every_key_once_and_no_other():
    text = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    for section, kind in SECTIONS.items() | LISTS.items():
        heading = f"## [{section}]\n" if section in SECTIONS else f"## [[{section}]]\n"
        body = text.split(heading)[1].split("\n## ")[0]
        written = [line.split("`")[1] for line in body.splitlines() if line.startswith("| `")]
        assert written == list(keys_of(kind)), section
        assert all(item.metadata["doc"] for item in keys_of(kind).values())


def test_document_example_is_accepted():
    text = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    assert settings(example).policy[0].after_ns == 30 * 60 * 10**9


@pytest.mark.parametrize(("text", "count"), [("64 MiB", 2**26), ("1.5kB", 1500), (7, 7), ("0", 0), ("1e3", None)])
def test_sizes(text, count):
    if count is None:
        with pytest.raises(ValueError, match="not a size"):
            parse_bytes(text)
    else:
        assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "ns"),
    [("60s", 60 * 10**9), ("1.5 ms", 1_500_000), ("2h", 7200 * 10**9), ("0s", 0), (0, 0), ("7d", 604800 * 10**9)],
)
def test_durations(text, ns):
    assert parse_duration(text) == ns


def test_durations_and_sizes_read_well():
    assert [format_bytes(value) for value in (0, 1023, 1536, 2**26, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "64 MiB",
        "3 TiB",
    ]
    assert [format_duration(value) for value in (0, 12, 1500, 2 * 10**9, 3600 * 10**9)] == [
        "0 s",
        "12 ns",
        "1.5 us",
        "2 s",
        "1 h",
    ]
