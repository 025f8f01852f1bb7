"""Which libraries have replaced parts of this process that a server in one of its threads needs."""

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


def may_patch() -> str | None:
    """Return a library that was loaded and can replace time or files while a test runs, and what it replaces."""
    for module, what in (("freezegun", "time"), ("time_machine", "time"), ("pyfakefs", "the file system")):
        if module in sys.modules:
            return f"{module} ({what})"
    return None
