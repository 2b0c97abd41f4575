"""Clients of S3: what may be set, and one client for all stores that are set alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from chronicle.core.errors import ConfigError

__all__ = ["OPTIONS", "client_of"]

OPTIONS: Final[dict[str, str]] = {
    "endpoint_url": "Address of the service, for all that is not AWS.",
    "region": "Region of the bucket.",
    "profile": "Profile of the shared configuration files.",
    "anonymous": "true: send no credentials (public buckets).",
    "path_style": "true: the bucket in the path instead of the host name; the default with an endpoint_url.",
    "sse": "Server-side encryption: AES256, aws:kms or aws:kms:dsse.",
    "sse_kms_key_id": "The key of aws:kms.",
    "storage_class": "As STANDARD_IA or GLACIER_IR; objects must stay readable at once.",
    "requester_pays": "true: our account pays for requests to another's bucket.",
    "connect_timeout": "Seconds to wait for a connection (10).",
    "read_timeout": "Seconds to wait for the next byte of an answer (60).",
}
_NOT_READABLE: Final = ("GLACIER", "DEEP_ARCHIVE")


def client_of(options: Mapping[str, Any], location: str) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Return (arguments of writes, arguments of all other requests, the client)."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ConfigError(
            "the tier has options that S3 does not know",
            path=location,
            expected=", ".join(OPTIONS),
            found=", ".join(unknown),
            hint="credentials come from the environment or the shared files, never from chronicle.toml",
        )
    if str(options.get("storage_class", "")).upper() in _NOT_READABLE:
        raise ConfigError(
            "a tier must be readable at once", path=location, found=options["storage_class"], hint="use GLACIER_IR"
        )
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    client = _cached_client(tuple(sorted(options.items())), environment, os.getpid())
    payer = {"RequestPayer": "requester"} if options.get("requester_pays") else {}
    names = {"sse": "ServerSideEncryption", "sse_kms_key_id": "SSEKMSKeyId", "storage_class": "StorageClass"}
    write = {theirs: str(options[ours]) for ours, theirs in names.items() if options.get(ours)}
    return write | payer, payer, client


@lru_cache(maxsize=16)
def _cached_client(items: tuple[tuple[str, Any], ...], environment: tuple[tuple[str, str], ...], process: int) -> Any:
    """Return a client; making one reads some megabytes of service description, so that stores share them."""
    del environment, process  # a client is made of them as well, by botocore's own reading
    options = dict(items)
    try:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ConfigError(
            "s3:// needs the package botocore", path="s3://", hint="pip install 'chronicle-md[s3]'"
        ) from error
    endpoint = options.get("endpoint_url")
    style = "path" if options.get("path_style", bool(endpoint)) else "auto"
    anonymous: dict[str, Any] = {"signature_version": UNSIGNED} if options.get("anonymous") else {}
    try:
        config = Config(
            connect_timeout=float(options.get("connect_timeout", 10)),
            read_timeout=float(options.get("read_timeout", 60)),
            max_pool_connections=32,
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": style},
            user_agent_extra="chronicle",
            **anonymous,
        )
        session = botocore.session.Session(profile=options.get("profile"))
        region = options.get("region") or session.get_config_variable("region") or "us-east-1"
        client: Any = session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError, TypeError) as error:
        raise ConfigError(f"the store cannot be used: {error}", path="s3://") from error
    return client
