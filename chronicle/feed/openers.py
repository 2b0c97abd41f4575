"""Which library opens a live feed's WebSockets."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.request import getproxies

from chronicle.feed.connection import Opener, open_websocket

__all__ = ["default_opener"]


def default_opener() -> Opener:
    """Return picows' opener where the extra ``fast`` is installed, else the one of websockets.

    Behind a proxy that the environment names it is websockets in any case: picows takes proxies one by one.
    """
    if find_spec("picows") is None or {"http", "https", "socks", "all"} & set(getproxies()):
        return open_websocket
    from chronicle.feed.picows_socket import open_picows

    return open_picows
