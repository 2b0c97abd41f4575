"""``chronicle flight``: an Arrow Flight server over the store, read-only."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, need_home
from chronicle.core.errors import ConfigError

_EPILOG = """\
\b
Examples:
  chronicle flight --home data
  chronicle flight --listen 0.0.0.0:8815 --token-file token --certificate tls.pem --key tls.key --home data
\b
A client (pyarrow.flight, or any other) asks GetFlightInfo with a question as JSON, as {"channel": "trade",
"symbols": ["kraken:BTC-EUR"], "start": "2021-04-17T16:49:00Z"}, and gets an endpoint a unit; DoGet of a unit's ticket
streams its record batches. Nothing can be written. Beyond this host it wants a token and TLS.
"""
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("flight", epilog=_EPILOG)
@click.option(
    "--listen", default="127.0.0.1:8815", show_default=True, metavar="HOST:PORT", help="Port 0: any free one."
)
@click.option("--token-file", type=FILE, help="Calls must carry what this file holds: authorization: Bearer ...")
@click.option("--certificate", type=FILE, help="PEM; with --key, calls are encrypted.")
@click.option("--key", type=FILE, help="PEM.")
@home_option
def command(listen: str, token_file: Path | None, certificate: Path | None, key: Path | None, home: Path) -> None:
    """Serve the store's records by Arrow Flight."""
    import chronicle
    from chronicle.access.libraries import library

    if (certificate is None) != (key is None):
        raise ConfigError("a certificate comes with its key", expected="--certificate and --key", found="one of them")
    token = None if token_file is None else _content(token_file).decode("utf-8", "replace").strip()
    if token == "":
        raise ConfigError("the file holds no token", path=token_file)
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not host:
        raise ConfigError("a server listens at a host and a port", expected="HOST:PORT", found=listen)
    if not _is_here(host) and (token is None or certificate is None):
        raise ConfigError(
            "beyond this host records are served to those with a token alone, and encrypted",
            found=listen,
            hint="--token-file, --certificate and --key; or --listen 127.0.0.1:PORT behind a proxy that does both",
        )
    library("pyarrow.flight")
    from chronicle.access.serving.flight import StoreServer
    from chronicle.cli.stopping import stopping

    tls = None if certificate is None or key is None else (_content(certificate), _content(key))
    scheme = "grpc" if tls is None else "grpc+tls"
    with chronicle.open(need_home(home)) as store:
        try:
            server = StoreServer(store, f"{scheme}://{listen}", token=token, tls=tls)
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise ConfigError(
                f"no server can listen at {listen}", hint="another process may: try another port"
            ) from error
        # It serves from here on, on threads of its own. Its serve() would only wait, with signal handlers of its own:
        # a signal that came while it puts them in place would be lost.
        with server, stopping() as stopper:
            show.note(f"{scheme}://{host}:{server.port}  (Ctrl-C ends it)")
            stopper.event.wait()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError("a file of the server cannot be read", path=path, found=error.strerror) from error


def _is_here(host: str) -> bool:
    """Return whether `host` is this host's loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
