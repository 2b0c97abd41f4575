"""How long a test waits for a process or thread that must end by itself before it calls that a hang."""

from __future__ import annotations

from typing import Final

__all__ = ["HANG_SECONDS"]

HANG_SECONDS: Final = 600
"""No measure of speed: kernels may have to be compiled first, beside the other half of the suite, on a machine that
is shared. Less than the suite's own bound of a test, so that a failure tells what hung and what it had said."""
