"""Compiled inner loops of the feed. The cache folder is set by ``chronicle.core.kernels`` before numba loads."""

from __future__ import annotations

import chronicle.core.kernels  # noqa: F401  (it keys numba's cache by the kernels' sources)
