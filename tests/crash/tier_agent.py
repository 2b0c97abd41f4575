"""A process that tiers a home and kills itself at the n-th time it reaches a step; ran by test_tier_steps."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from chronicle.storage.manifest import Entry
from tests.support.tiers import apply_all, three_tiers


def main() -> None:
    """Run with HOME WARM_ENCODING COLD_ENCODING STEP COUNT; each step reached is a line on stdout."""
    home, warm, cold, wanted, count = Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
    reached = 0

    def hook(step: str, entry: Entry) -> None:
        nonlocal reached
        os.write(1, f"{step} {entry.number}\n".encode())
        reached += step == wanted
        if step == wanted and reached == count:
            os.kill(os.getpid(), signal.SIGKILL)

    apply_all(home, three_tiers(home, warm=warm, cold=cold), hook=hook).raise_for_failures()


if __name__ == "__main__":
    main()
