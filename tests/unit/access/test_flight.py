"""A Flight server over a store: a real client gets each record once, and nothing else is possible."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import chronicle
from chronicle.access.ranges.tickets import Ticket
from chronicle.core.errors import ConfigError
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue, definition
from tests.support.patience import HANG_SECONDS

pa = pytest.importorskip("pyarrow")
fl = pytest.importorskip("pyarrow.flight")

START = 1_700_000_000_000_000_000
BTC, ETH = "kraken:BTC-EUR", "kraken:ETH-EUR"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("flight")
    rng = random.Random(11)
    for symbol, exponent in ((BTC, 2), (ETH, 4)):
        fields = definition(symbol, price_exponent=exponent)
        trade = CleanQueue(home, symbol, "trade", fields=fields, segment_bytes=1 << 16)
        ts = START
        for step in range(3_000):
            ts += rng.randrange(3)
            trade.trade(ts, rng.choice(["bid", "ask"]), 100 + step % 9, 1, step)
        trade.close(seal=symbol == BTC)
    return home


@pytest.fixture
def store(home: Path):
    with chronicle.open(home) as opened:
        yield opened


@pytest.fixture
def client(store):
    from chronicle.access.serving.flight import StoreServer

    with StoreServer(store) as server, fl.connect(f"grpc://127.0.0.1:{server.port}") as connected:
        yield connected


def ask(client, **question: object):
    return client.get_flight_info(fl.FlightDescriptor.for_command(json.dumps(question)))


@pytest.mark.parametrize("decimals", ["float", "decimal", "int"])
def test_the_units_of_a_question_are_the_scan(store, client, decimals: str) -> None:
    info = ask(client, channel="trade", symbols=[BTC, ETH], records=500, decimals=decimals, start=START + 100)
    assert len(info.endpoints) > 5
    tables = [client.do_get(endpoint.ticket).read_all() for endpoint in info.endpoints]
    assert all(table.schema.equals(info.schema) for table in tables)
    got = pa.concat_tables(tables)
    whole = store.scan([BTC, ETH], "trade", START + 100, decimals=decimals).to_arrow()
    rows = [sorted(table.to_pylist(), key=lambda row: (row["symbol"], row["index"])) for table in (got, whole)]
    assert rows[0] == rows[1]
    assert got.num_rows > 5_000


def test_tickets_of_partitions_are_taken(store, client) -> None:
    units = store.partitions([BTC], "trade", records=700, columns=["ts_recv", "price"])
    for unit in units:
        assert (
            client.do_get(fl.Ticket(unit.ticket())).read_all().equals(unit.to_arrow().replace_schema_metadata(None))
        )
    assert Ticket.unpack(units[0].ticket()).columns == ("ts_recv", "price")


def test_flights_are_listed_and_paths_name_one(client) -> None:
    listed = [json.loads(info.descriptor.command) for info in client.list_flights()]
    assert listed == [{"symbols": [symbol], "channel": "trade"} for symbol in (BTC, ETH)]
    info = client.get_flight_info(fl.FlightDescriptor.for_path("trade", "kraken:ETH/EUR"))
    assert info.total_records == 3_000
    assert client.get_schema(fl.FlightDescriptor.for_path("trade", ETH)).schema.equals(info.schema)


@pytest.mark.parametrize(
    ("ticket", "kind", "words"),
    [
        (b"", "config", "JSON"),
        (b"[1]", "config", "no ticket"),
        (b'{"v": 1}', "config", "names an instrument"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "raw"}', "config", "cannot be scanned"),
        (b'{"v": 1, "symbol": "kraken:../../etc", "channel": "trade"}', "symbol", "no captured instrument"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "book"}', "not_found", "no book is kept"),
        (b'{"v": 1, "symbol": 7, "channel": "trade"}', "config", "cannot be this"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "trade", "start": 1e99}', "config", "start"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "trade", "start": 9, "end": 8}', "range", "end"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "trade", "columns": ["x"]}', "config", "no column"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "trade", "decimals": "x"}', "config", "no way"),
        (b'{"v": 1, "symbol": "kraken:BTC-EUR", "channel": "trade", "exponents": [1, 99]}', "config", "exp"),
        (b"[" * 60_000, "config", "JSON"),
        (b" " * 70_000, "config", "short"),
    ],
)
def test_a_hostile_ticket_is_refused_with_words(home: Path, client, ticket: bytes, kind: str, words: str) -> None:
    with pytest.raises(fl.FlightServerError, match=words) as told:
        client.do_get(fl.Ticket(ticket)).read_all()
    assert str(told.value).startswith(f"{kind}: ")
    assert_tells_nothing_of_us(str(told.value), home)
    assert ask(client, channel="trade", symbols=[BTC]).total_records == 3_000


@pytest.mark.parametrize(
    "question",
    [
        {"places": ["/etc"]},
        {"symbols": "kraken:BTC-EUR"},
        {"channel": "trade", "records": 0},
        {"channel": "trade", "records": "9"},
        {"channel": 5},
        {"channel": "trade", "start": "yesterday"},
        {"channel": "trade", "records": 1, "symbols": [BTC], "columns": []},
    ],
)
def test_a_question_that_cannot_be_is_refused(home: Path, client, question: dict[str, object]) -> None:
    with pytest.raises(fl.FlightServerError, match=r"^(config|range): ") as told:
        ask(client, **question)
    assert_tells_nothing_of_us(str(told.value), home)


def assert_tells_nothing_of_us(text: str, home: Path) -> None:
    """A client sees neither our places nor our source."""
    assert str(home) not in text
    assert "Traceback" not in text
    assert ".py" not in text


def test_damage_met_in_a_stream_is_told_without_places(tmp_path: Path) -> None:
    from chronicle.access.serving.flight import StoreServer

    clean = CleanQueue(tmp_path, BTC, segment_bytes=1 << 19)
    for step in range(5_000):
        clean.deltas(START + step, ("bid", 100 + step % 9, 1 + step % 7))
    clean.close(seal=True)
    run_once(tmp_path, default_policy(tmp_path), everything=True)
    with chronicle.open(tmp_path) as store:
        stored = Path(store.coverage(BTC, "book").segments[0].location)
    with ArchivedSegment(LocalStore(stored.parent), stored.name) as segment:
        block = next(block for block in segment.footer.blocks if block.raw_offset == segment.data_offset)
    data = bytearray(stored.read_bytes())
    data[block.object_offset + block.object_bytes // 2] ^= 1
    stored.write_bytes(data)
    with (
        chronicle.open(tmp_path) as store,
        StoreServer(store) as server,
        fl.connect(f"grpc://127.0.0.1:{server.port}") as client,
    ):
        ticket = ask(client, channel="book", symbols=[BTC]).endpoints[0].ticket
        with pytest.raises(fl.FlightServerError, match=r"^corruption: ") as told:
            client.do_get(ticket).read_all()
    assert_tells_nothing_of_us(str(told.value), tmp_path)


def test_a_failure_that_is_no_error_of_ours_is_told_to_the_log_alone(store, client, monkeypatch, caplog) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(type(store), "partitions", fail)
    with pytest.raises(fl.FlightServerError, match=r"^internal: ") as told:
        ask(client, channel="trade")
    assert "secret" not in str(told.value)
    assert "a secret" in caplog.text


def test_nothing_can_be_written_or_done(client) -> None:
    batch = pa.record_batch({"a": [1]})
    writer, _ = client.do_put(fl.FlightDescriptor.for_path("trade", BTC), batch.schema)
    with pytest.raises(fl.FlightUnauthorizedError, match="read-only"):
        writer.close()
    with pytest.raises(fl.FlightUnauthorizedError, match="read-only"):
        list(client.do_action(fl.Action("drop", b"")))
    assert list(client.list_actions()) == []


def test_a_token_is_asked_for(store) -> None:
    from chronicle.access.serving.flight import StoreServer

    with StoreServer(store, token="s3cret") as server, fl.connect(f"grpc://127.0.0.1:{server.port}") as client:
        for headers in ([], [(b"authorization", b"Bearer wrong")]):
            with pytest.raises(fl.FlightUnauthenticatedError, match=r"^(?!.*Traceback)"):
                list(client.list_flights(options=fl.FlightCallOptions(headers=headers)))
        right = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer s3cret")])
        assert len(list(client.list_flights(options=right))) == 2


def test_only_so_many_streams_run_at_once(store, monkeypatch: pytest.MonkeyPatch) -> None:
    from chronicle.access.serving import flight

    monkeypatch.setattr(flight, "STREAMS_MAX", 1)
    with flight.StoreServer(store) as server, fl.connect(f"grpc://127.0.0.1:{server.port}") as client:
        ticket = ask(client, channel="trade", symbols=[BTC]).endpoints[0].ticket
        server._room.acquire()
        with pytest.raises(fl.FlightUnavailableError, match="ask again"):
            client.do_get(ticket).read_all()
        server._room.release()
        assert client.do_get(ticket).read_all().num_rows == 3_000
        assert server._room.acquire(blocking=False)  # the stream gave its place back


def test_the_command_serves_until_it_is_told_to_end(home: Path) -> None:
    code = "from chronicle.cli.main import main; main()"
    command = [sys.executable, "-c", code, "flight", "--listen", "127.0.0.1:0", "--home", str(home)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(line for line in process.stderr if line.startswith("grpc://")).split()[0]
        with fl.connect(address) as client:
            ticket = ask(client, channel="trade", symbols=[ETH]).endpoints[0].ticket
            assert client.do_get(ticket).read_all().num_rows == 3_000
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=HANG_SECONDS) == 0
        assert "Traceback" not in process.stderr.read()


def test_the_command_wants_token_and_tls_beyond_this_host(home: Path) -> None:
    from chronicle.cli import flight

    with pytest.raises(ConfigError, match="encrypted"):
        flight.command.main(["--listen", "0.0.0.0:0", "--home", str(home)], standalone_mode=False)
    with pytest.raises(ConfigError, match="cannot be read"):
        flight.command.main(["--token-file", str(home / "none"), "--home", str(home)], standalone_mode=False)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        flight.command.main(["--listen", "8815", "--home", str(home)], standalone_mode=False)
