"""Fixtures every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from chronicle.core import durability, watermarks

# The suite draws the same examples each time; `make soak` draws new ones and prints the seed of a failure.
# How fast examples are drawn says something of the machine, nothing of the code.
patient: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, **patient)
settings.register_profile("soak", max_examples=2_000, print_blob=True, **patient)
settings.load_profile(os.environ.get("CHRONICLE_HYPOTHESIS", "suite"))

# A suite that a script starts in the background ignores Ctrl-C, and so would every child that is to be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a shell says of its terminal, its proxies and its own home of Chronicle is nothing to the suite, nor to the
# processes that it starts.
for _name in (
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "CHRONICLE_HOME",
    "CHRONICLE_DEBUG",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
):
    os.environ.pop(_name, None)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def as_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues of this test count as lying on a disk, also where its folder (or a small disk) is a tmpfs."""
    for module in (durability, watermarks):
        monkeypatch.setattr(module, "is_memory", lambda folder: False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of captured market data beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared market data beside the checkout (looked for ../shared/data from {REPOSITORY.name})")
    return SHARED_DATA


@pytest.fixture(scope="session")
def s3_keys() -> Iterator[None]:
    """Credentials of the loopback servers in the environment, and nothing of the machine's own."""
    from tests.support.s3_server import KEYS

    saved = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in saved:
        del os.environ[name]
    os.environ.update(KEYS | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull})
    yield
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(saved)


@pytest.fixture(scope="session")
def s3_servers(s3_keys: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Gives the address of ``moto`` or ``versitygw``, started when first asked for, with an empty bucket."""
    from tests.support import s3_server

    with ExitStack() as stack:

        @cache
        def endpoint(kind: str) -> str:
            if kind == "moto":
                pytest.importorskip("moto")
                found = stack.enter_context(s3_server.moto_server())
            else:
                found = stack.enter_context(s3_server.versitygw_server(tmp_path_factory.mktemp("versitygw")))
            s3_server.client(found).create_bucket(Bucket=s3_server.BUCKET)
            return found

        yield endpoint


@pytest.fixture(params=["moto", "versitygw"])
def s3_endpoint(request: pytest.FixtureRequest, s3_servers: Callable[[str], str]) -> str:
    """Address of an S3 server with a bucket: of moto, and of versitygw where it is installed."""
    from tests.support.s3_server import versitygw

    if request.param == "versitygw" and versitygw() is None:
        pytest.skip("versitygw is not installed (`make test-tools`)")
    return s3_servers(request.param)


@pytest.fixture
def s3_root(s3_endpoint: str, request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """A root of this test's own in the bucket: (URL, options)."""
    from tests.support.s3_server import BUCKET

    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"s3://{BUCKET}/{name}", {"endpoint_url": s3_endpoint}
