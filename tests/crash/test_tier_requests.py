"""kill -9 before and after every request of moves to S3 leaves each segment readable; the next run settles."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.source import ArchiveSource, TieredSource
from chronicle.storage.tiers.verify import verify
from tests.support.s3_server import BUCKET, client
from tests.support.tiers import BOOK, apply_all, book_home, source_records, three_tiers

SEGMENTS = 2


def run_agent(home: Path, endpoint: str, root: str, step: str, count: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.crash.tier_agent", str(home), "zstd", root, step, str(count)]
    environment = os.environ | {"AWS_ENDPOINT_URL": endpoint}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout


def objects(endpoint: str, prefix: str) -> list[str]:
    rows = client(endpoint).list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [row["Key"] for row in rows]


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.soak), "after"])
def test_a_kill_at_any_request_is_settled_by_the_next_run(
    tmp_path: Path, s3_servers: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    endpoint = s3_servers("moto")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    made = book_home(tmp_path / "made", SEGMENTS)
    apply_all(made)
    truth = source_records(TieredSource(made))
    count = 0
    while True:
        count += 1
        home, root = tmp_path / f"home-{count}", f"s3://{BUCKET}/kill-{moment}/{count}"
        shutil.copytree(made, home)
        code, _ = run_agent(home, endpoint, root, moment, count)
        if code == 0:
            break  # there were fewer requests
        source = TieredSource(home)
        infos = source.segments(BOOK)
        assert [info.number for info in infos] == list(range(SEGMENTS))
        assert source_records(source) == truth
        policy = three_tiers(home, cold_root=root)
        for _ in range(2):
            apply_all(home, policy).raise_for_failures()
        assert source_records(TieredSource(home)) == truth
        assert {info.place for info in TieredSource(home).segments(BOOK)} == {"cold"}
        assert source_records(ArchiveSource(root)) == truth
        assert verify(home, deep=True).findings == ()
        manifest = Manifest.open(home)
        assert manifest is not None
        assert all(entry.state == "published" and not entry.retired for entry in manifest.entries())
        assert not list((home / "archive").rglob("*.czst"))
        prefix = root.partition(f"{BUCKET}/")[2]
        assert len([name for name in objects(endpoint, f"{prefix}/") if name.endswith(".czst")]) == SEGMENTS
        assert not client(endpoint).list_multipart_uploads(Bucket=BUCKET, Prefix=f"{prefix}/").get("Uploads")
    assert count > 3 * SEGMENTS + 2  # look, put and read back each; the catalogs
