"""Compiled inner loops of the archive encoding. The cache folder is set by ``chronicle.core.kernels`` first."""

from __future__ import annotations

import chronicle.core.kernels  # noqa: F401  (it keys numba's cache by the kernels' sources)
