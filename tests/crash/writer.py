"""A writer process to be killed: appends numbered events and prints what append returned for.

Run as ``python -m tests.crash.writer QUEUE SEED``.
"""

from __future__ import annotations

import random
import sys

from chronicle.core import Kind, Queue
from tests.support.queues import event


def main() -> None:
    queue = Queue.create(sys.argv[1], segment_bytes=64 * 1024, exist_ok=True)
    rng = random.Random(int(sys.argv[2]))
    with queue.appender() as appender:
        while True:
            number = appender.next_index
            if rng.random() < 0.1:
                appender.append(Kind.WIRE, rng.randbytes(rng.randrange(5_000)), ts_recv=number, sequence=number)
            else:
                data, count = event(number, rng.randrange(1, 9))
                appender.append_event(data, count)
            if rng.random() < 0.01:
                appender.seal()
            sys.stdout.write(f"{appender.next_index}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
