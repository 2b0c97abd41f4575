"""A process that tiers a home and kills itself; ran by test_tier_steps and test_tier_requests.

``HOME WARM_ENCODING COLD STEP COUNT``: at the COUNT-th time that it reaches STEP. COLD is an encoding, or the URL of
a root (then $AWS_ENDPOINT_URL says where its store is). The step ``before`` is the moment before the COUNT-th
request to a store is sent, ``after`` the one when it was answered, ``part`` the one when the COUNT-th part of an
upload was taken. $CHRONICLE_TEST_PART is the size of parts, $CHRONICLE_TEST_PARTS how many are sent at once,
$CHRONICLE_TEST_MOVES how many moves are made at once, $CHRONICLE_TEST_SSE the encryption of uploads. With
$CHRONICLE_TEST_HOLD it says ``held`` there instead, and goes on when a byte comes on stdin.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from chronicle.storage.manifest.entry import Entry
from chronicle.storage.stores import remote
from chronicle.storage.stores.patience import Patience
from chronicle.storage.stores.s3 import S3Requests
from chronicle.storage.tiers.agent import AgentOptions
from tests.support.tiers import apply_all, three_tiers


def main() -> None:
    """Each step reached is a line on stdout."""
    home, warm, cold, wanted, count = Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
    reached, lock = 0, threading.Lock()
    remote.PARTS_AT_ONCE = int(os.environ.get("CHRONICLE_TEST_PARTS", "4"))  # type: ignore[misc]

    def step_reached(step: str) -> None:
        nonlocal reached
        with lock:
            reached += step == wanted
            if step != wanted or reached != count:
                return
            if not os.environ.get("CHRONICLE_TEST_HOLD"):
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(1, b"held\n")
            os.read(0, 1)

    def hook(step: str, entry: Entry) -> None:
        os.write(1, f"{step} {entry.number}\n".encode())
        step_reached(step)

    asked = Patience.ask

    def ask(self, request, breaker):
        step_reached("before")
        answer = asked(self, request, breaker)
        step_reached("after")
        return answer

    Patience.ask = ask  # type: ignore[method-assign]
    sent = S3Requests.part

    def part(self, name, upload, number, data):
        answer = sent(self, name, upload, number, data)
        step_reached("part")
        return answer

    S3Requests.part = part  # type: ignore[method-assign]
    encoding, root = ("zstd", cold) if "://" in cold else (cold, None)
    pack_bytes = int(os.environ.get("CHRONICLE_TEST_PACK", "0"))
    policy = three_tiers(home, warm=warm, cold=encoding, cold_root=root, pack_bytes=pack_bytes)
    if part_bytes := int(os.environ.get("CHRONICLE_TEST_PART", "0")):
        parts: dict[str, object] = {"part_bytes": part_bytes}
        if sse := os.environ.get("CHRONICLE_TEST_SSE"):
            parts["sse"] = sse
        policy = replace(policy, tiers=(*policy.tiers[:-1], replace(policy.tiers[-1], options=parts)))
    options = AgentOptions(at_once=int(os.environ.get("CHRONICLE_TEST_MOVES", "1")))
    apply_all(home, policy, hook=hook, options=options).raise_for_failures()
    os.write(1, f"requests {reached}\n".encode())


if __name__ == "__main__":
    main()
