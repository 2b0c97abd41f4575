"""Arrow Flight over a store: what workers on other hosts ask for in units, read-only.

``GetFlightInfo`` takes a question as JSON (``{"channel": "trade", "symbols": ["kraken:BTC-EUR"], "start": ...,
"end": ..., "columns": [...], "kinds": [...], "decimals": "float", "records": 1000000}``) and answers with one
endpoint a unit; ``DoGet`` takes a unit's ticket (:mod:`chronicle.access.ranges.tickets`) and streams its record
batches. ``ListFlights`` tells the channels of every instrument. There is nothing else: no put, no action, no
exchange.

Source of the protocol: https://arrow.apache.org/docs/format/Flight.html
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from chronicle.access.opened.asked import time_range
from chronicle.access.ranges.columns import check_decimals
from chronicle.access.ranges.filtered import FilteredScan
from chronicle.access.ranges.partitions import Partition
from chronicle.access.ranges.scan import Scan, columns_of
from chronicle.access.ranges.tickets import TICKET_BYTES_MAX, Ticket
from chronicle.access.ranges.where import parse_where
from chronicle.access.store import Store
from chronicle.core.errors import ChronicleError, ConfigError

__all__ = ["StoreServer"]

_LOG = logging.getLogger("chronicle.flight")

STREAMS_MAX = 16
"""Streams at once; a further one is told to come again."""
READ_ONLY = "this server is read-only"
CHANNELS = ("book", "trade", "quote", "candle")
UNITS_MAX = 10_000
"""Endpoints of one answer."""
RECORDS = 1_000_000
_ASKED = frozenset({"symbols", "channel", "start", "end", "columns", "where", "kinds", "decimals", "records"})


class _Token(fl.ServerMiddlewareFactory):  # type: ignore[misc]  # pyarrow has no types
    """Lets calls pass that carry ``authorization: Bearer TOKEN``."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._expected = f"Bearer {token}".encode()

    def start_call(self, info: Any, headers: Any) -> None:
        """Refuse a call without the token."""
        del info
        found = [value for name, values in headers.items() if name.lower() == "authorization" for value in values]
        given = found[0].encode() if found and isinstance(found[0], str) else b""
        if not hmac.compare_digest(given, self._expected):
            raise fl.FlightUnauthenticatedError("this server wants a token: authorization: Bearer ...")


class _Place:
    """One of the streams that may run; it is free again when the stream ended, or was never read."""

    def __init__(self, room: threading.BoundedSemaphore) -> None:
        if not room.acquire(blocking=False):
            raise fl.FlightUnavailableError(f"{STREAMS_MAX} streams are running: ask again")
        self.free = weakref.finalize(self, room.release)


def _batches(scan: Scan, place: _Place) -> Iterator[Any]:
    """Yield a table for each batch of `scan`."""
    try:
        with _told():
            for batch in scan.arrow_batches():
                yield pa.Table.from_batches([batch.replace_schema_metadata(None)])  # a bare batch has no dictionaries
    finally:
        place.free()


class StoreServer(fl.FlightServerBase):  # type: ignore[misc]
    """Serves one store from its making on. Use it as a context manager; ``serve()`` blocks until ``shutdown()``.

    Parameters
    ----------
    store : Store
        What is served; the caller closes it.
    location : str
        ``grpc://127.0.0.1:0`` (any free port; see `port`) or ``grpc+tls://HOST:PORT``.
    token : str, optional
        Calls must carry it as a bearer token.
    tls : (certificate, key), optional
        PEM bytes, for ``grpc+tls``.
    """

    def __init__(
        self,
        store: Store,
        location: str = "grpc://127.0.0.1:0",
        *,
        token: str | None = None,
        tls: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._store = store
        self._room = threading.BoundedSemaphore(STREAMS_MAX)
        middleware = None if token is None else {"token": _Token(token)}
        super().__init__(location, tls_certificates=None if tls is None else [tls], middleware=middleware)

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[Any]:
        """Yield a flight for each channel of each instrument; its endpoints are asked for with GetFlightInfo."""
        del context, criteria
        with _told():
            known = [(row.symbol, channel) for row in self._store.instruments() for channel in row.channels]
        for symbol, channel in known:
            if channel in CHANNELS:
                yield fl.FlightInfo(
                    _shape(channel), _descriptor({"symbols": [symbol], "channel": channel}), [], -1, -1
                )

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Return the schema and one endpoint for each unit of what the descriptor asks for."""
        del context
        with _told():
            question = _question(descriptor)
            channel = question.pop("channel", "book")
            units = self._store.partitions(
                question.pop("symbols", None),
                channel,
                *time_range(question.pop("start", None), question.pop("end", None)),
                records=question.pop("records", RECORDS),
                **question,
            )
            if len(units) > UNITS_MAX:
                raise ConfigError(
                    "the answer has too many units",
                    expected=f"<= {UNITS_MAX}",
                    found=len(units),
                    hint='ask for fewer instruments, a shorter range, or more "records" a unit',
                )
            tickets, schema = self._tickets(units, channel, question)
        endpoints = [fl.FlightEndpoint(fl.Ticket(ticket.pack()), []) for ticket in tickets]
        return fl.FlightInfo(schema, descriptor, endpoints, sum(unit.records for unit in units), -1)

    def get_schema(self, context: Any, descriptor: Any) -> Any:
        """Return the schema of what the descriptor asks for."""
        return fl.SchemaResult(self.get_flight_info(context, descriptor).schema)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Stream the record batches of a ticket."""
        del context
        with _told():
            scan = self._scan(Ticket.unpack(ticket.ticket))
            schema = scan.arrow_schema().remove_metadata()
        return fl.GeneratorStream(schema, _batches(scan, _Place(self._room)))

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Refuse: nothing can be written."""
        raise fl.FlightUnauthorizedError(READ_ONLY)

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Refuse: there is nothing but DoGet."""
        raise fl.FlightUnauthorizedError(READ_ONLY)

    def do_action(self, context: Any, action: Any) -> Any:
        """Refuse: there is no action."""
        raise fl.FlightUnauthorizedError(READ_ONLY)

    def list_actions(self, context: Any) -> list[Any]:
        """Return no action."""
        return []

    def _tickets(self, units: list[Partition], channel: str, asked: dict[str, Any]) -> tuple[list[Ticket], Any]:
        """Return the tickets of `units`, whose answers have one schema, and that schema."""
        symbols = tuple(dict.fromkeys(unit.symbol for unit in units))
        whole = self._store.scan(list(symbols) or None, channel, **asked)
        exponents = None if whole.decimals == "float" else (whole.price_exponent, whole.size_exponent)
        tickets = []
        for unit in units:
            plain = Ticket.unpack(unit.ticket())
            values = {name: getattr(plain, name) for name in Ticket.__slots__}
            tickets.append(Ticket(**values | {"exponents": exponents}))
        return tickets, whole.arrow_schema().remove_metadata()

    def _scan(self, ticket: Ticket) -> Scan:
        """Return the scan of a ticket, every name in it checked as the store checks them."""
        columns_of(ticket.channel)
        check_decimals(ticket.decimals)
        time_range(ticket.start, ticket.end)
        symbols = (self._store._with_channel(ticket.symbol, ticket.channel),)
        place = self._store._shelf, symbols, ticket.channel, ticket.start, ticket.end
        options: Any = {
            "columns": ticket.columns,
            "kinds": ticket.kinds,
            "lanes": None,
            "decimals": ticket.decimals,
            "exponents": ticket.exponents,
        }
        if ticket.where is None:
            return Scan(*place, **options)
        where = parse_where(ticket.where)
        return FilteredScan(*place, where=where, resolve=self._store.resolve, **options)


def _shape(channel: str) -> Any:
    """Return the schema of a channel as it is by default: numbers are floats, so no instrument changes it."""
    shelf: Any = None  # without an instrument there is nothing to look at
    scan = Scan(shelf, (), channel, None, None, columns=None, kinds=None, lanes=None, decimals="float")
    return scan.arrow_schema().remove_metadata()


def _descriptor(question: dict[str, Any]) -> Any:
    return fl.FlightDescriptor.for_command(json.dumps(question))


def _question(descriptor: Any) -> dict[str, Any]:
    """Return the values of a descriptor's command, or of a path (channel, symbol)."""
    if descriptor.path:
        words = [part.decode("utf-8", "replace") for part in descriptor.path]
        if len(words) != 2:
            raise ConfigError("a path is a channel and an instrument", expected="trade, kraken:BTC-EUR", found=words)
        return {"channel": words[0], "symbols": [words[1]]}
    data = descriptor.command or b"{}"
    if len(data) > TICKET_BYTES_MAX:
        raise ConfigError("a question is short", expected=f"<= {TICKET_BYTES_MAX} bytes", found=len(data))
    try:
        question = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError("a question is JSON", expected='{"channel": "trade", "symbols": [...]}') from error
    if not isinstance(question, dict) or not set(question) <= _ASKED:
        raise ConfigError(
            "a question has no such word", expected=", ".join(sorted(_ASKED)), found=str(question)[:200]
        )
    for name in ("symbols", "columns", "kinds"):
        value = question.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise ConfigError(f"{name} is a list of words", found=str(value)[:80])
    words = [question.get(name) or "" for name in ("channel", "where")]
    if type(question.get("records", 1)) is not int or not all(isinstance(word, str) for word in words):
        raise ConfigError("records is a number, channel and where are text", found=str(question)[:80])
    return question


class _told:
    """Turns errors into what Flight sends without a traceback: a FlightError whose text begins with the kind.

    Any other exception would take the names and lines of our source files along (pyarrow adds them). What is no error
    of ours is told to this server's log alone.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ChronicleError):
            raise fl.FlightServerError(_text(error)) from None
        if isinstance(error, Exception) and not isinstance(error, fl.FlightError):
            _LOG.error("a call failed", exc_info=error)
            raise fl.FlightServerError("internal: the server failed, and its log tells why") from None


def _text(error: ChronicleError) -> str:
    """Return what a client is told: kind, message, what was expected and found, what to do; no place on our disk."""
    text = f"{error.kind}: {error.message}"
    if error.expected is not None:
        text += f" (expected {error.expected}, found {error.found})"
    return f"{text}; {error.hint}" if error.hint else text
