"""Moves from tier to tier in MB/s, with all that a move does: encode, write, read back, verify, publish, delete.

MB are of the source's bytes; as many moves are made at once as is the default. The peers do a part of it: a copy of
the same files with fsync, an upload of the same bytes in single puts by botocore; neither encodes, reads back or
compares. With ``_50ms`` each answer of the store comes 50 ms late, as over a network.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from chronicle.config.settings import AgentSettings
from chronicle.storage.tiers.agent import AgentOptions, run_once
from chronicle.storage.tiers.policy import Policy, Rule, TierPolicy, default_policy
from tests.support.faults import FaultyProxy
from tests.support.s3_server import BUCKET, KEYS, client, moto_server, versitygw, versitygw_server
from tools.benches.figure import Figure
from tools.benches.market import Market, note, suffix, work_folder

REPEATS = 3
AT_ONCE = AgentSettings().at_once
MB = 1_000_000
CP = "cp and fsync of the same bytes"
BOTO = "botocore puts of the same bytes"


def figures(of: Market) -> Iterator[Figure]:
    """Yield the throughput of moves to a folder and to S3 on loopback, from hot and from an archive tier."""
    end = suffix(of.name)
    with ExitStack() as stack:
        yield _moves(of, f"archive.move_local_mb_per_s{end}", _local, CP, _copied)
        os.environ |= KEYS
        if versitygw() is not None:
            (work_folder() / "s3").mkdir(exist_ok=True)
            endpoint = stack.enter_context(versitygw_server(work_folder() / "s3"))
        else:
            note("versitygw is not installed: moto stands in for S3, and is the slower part")
            endpoint = stack.enter_context(moto_server())
        client(endpoint).create_bucket(Bucket=BUCKET)

        distant = stack.enter_context(FaultyProxy(endpoint, share=1, faults=("slow",))).address

        def uploaded(paths: list[Path], target: Path, address: str) -> None:
            store = client(address)
            for number, path in enumerate(paths):
                store.put_object(Bucket=BUCKET, Key=f"plain/{target.name}/{number}", Body=path.read_bytes())

        near, far = ("", endpoint), ("_50ms", distant)
        for name, first, (line, address) in (
            ("move_s3", "hot", near),
            ("move_warm_s3", "warm", near),
            ("move_s3", "hot", far),
            ("move_warm_s3", "warm", far),
        ):

            def policy(home: Path, first: str = first, address: str = address) -> Policy:
                base = default_policy(home)
                cold = TierPolicy("cold", f"s3://{BUCKET}/{home.name}", options={"endpoint_url": address})
                return replace(base, tiers=(*base.tiers, cold), rules=(Rule(first, "cold", 0),), grace_ns=0)

            figure = f"archive.{name}{line}_mb_per_s{end}"
            yield _moves(of, figure, policy, BOTO, partial(uploaded, address=address), warm=first == "warm")


def _local(home: Path) -> Policy:
    return replace(default_policy(home), grace_ns=0)


def _copied(paths: list[Path], target: Path) -> None:
    target.mkdir()
    for number, path in enumerate(paths):
        with open(path, "rb") as source, open(target / str(number), "wb") as file:
            shutil.copyfileobj(source, file, 4 << 20)
            file.flush()
            os.fsync(file.fileno())


def _moves(
    of: Market,
    name: str,
    policy: Callable[[Path], Policy],
    peer: str,
    plain: Callable[[list[Path], Path], None],
    *,
    warm: bool = False,
) -> Figure:
    """Return the best of some runs of a move of everything sealed, and of the peer on the same bytes."""
    ours = theirs = 0.0
    moved = 0
    for number in range(REPEATS):
        home = work_folder() / f"{name}-{number}"
        shutil.copytree(of.home, home)
        if warm:
            run_once(home, _local(home), everything=True).raise_for_failures()
        paths = sorted((home / "archive").rglob("*.czst") if warm else home.rglob("*.seg"))
        started = time.perf_counter()
        plain(paths, work_folder() / f"{home.name}-plain")
        theirs = max(theirs, sum(path.stat().st_size for path in paths) / MB / (time.perf_counter() - started))
        started = time.perf_counter()
        report = run_once(home, policy(home), everything=True, options=AgentOptions(at_once=AT_ONCE))
        took = time.perf_counter() - started
        report.raise_for_failures()
        moved = len(report.moved)
        ours = max(ours, report.source_bytes / MB / took)
        for folder in (home, work_folder() / f"{home.name}-plain"):
            shutil.rmtree(folder, ignore_errors=True)
    return Figure(name, ours, "MB/s", moved, peer, theirs)
