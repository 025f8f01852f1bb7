"""Which library has replaced parts of this process that a server in one of its threads needs."""

import sys


def patched_by() -> str | None:
    """Return the library that replaced threads or sockets by its own: a server in a thread would hang."""
    # getattr, for a library may be in the middle of its import, and eventlet's versions differ.
    for library, module, asks in (
        ("gevent", "gevent.monkey", "is_module_patched"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched"),
    ):
        is_patched = getattr(sys.modules.get(module), asks, None)
        if is_patched and any(map(is_patched, ("threading", "thread", "socket"))):
            return library
    return None
