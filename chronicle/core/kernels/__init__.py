"""Numba kernels. Importing this package points numba's cache at a folder keyed by the kernels' and layout's source.

``cache=True`` alone does not notice a changed constant or helper in another file and would return the old answer.
Kernels take arrays and scalars, allocate nothing, print nothing, raise nothing; the plain Python callers check
shapes, dtypes and bounds first.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder of compiled kernels for exactly these sources."""
    package = Path(__file__).resolve().parent.parent.parent
    digest = hashlib.sha256()
    shared = [package / "core" / "layout.py", package / "core" / "writer_state.py"]
    for source in sorted([*package.glob("*/kernels/*.py"), *shared]):
        digest.update(source.read_bytes())
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "chronicle" / f"kernels-{digest.hexdigest()[:16]}"


if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())

from chronicle.core.kernels.cache_lock import install  # noqa: E402 - numba loads behind the line above

install()
