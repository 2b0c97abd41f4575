"""What this process may hold open."""

from __future__ import annotations

import contextlib
import resource

__all__ = ["raise_descriptor_limit"]

DESCRIPTORS_WANTED = 65_536


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files towards the hard one, as far as the host lets us; return it.

    A shard keeps a descriptor for each clean queue where the file system needs one for a lock (decision 39);
    the usual soft limit of 1,024 is there for programs that use select(2), which nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
