"""Benchmarks: ``python tools/bench.py TOPIC [--json]`` with TOPIC one of queue, feed, etl, archive, reader, all.

One JSON object a line: name, value, unit, n; and peer, peer_value, ratio where a peer ran in the same run. A ratio
is ours to the peer's: below 1 is better where less is better (ns, us, bytes), above 1 where more is (per second).
Machines differ and are shared: compare ratios of one run, never figures of two.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TOPICS = ("queue", "feed", "etl", "archive", "reader")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", default="all", choices=(*TOPICS, "all"))
    parser.add_argument("--json", action="store_true", help="one JSON object a line (default: a table)")
    options = parser.parse_args()
    for topic in TOPICS if options.topic == "all" else (options.topic,):
        module = importlib.import_module(f"tools.benches.{topic}")
        for figure in module.run():
            print(json.dumps(figure.to_dict()) if options.json else figure.to_line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
