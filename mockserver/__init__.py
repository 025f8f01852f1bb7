"""A local, stateful mock server of the OpenAI Containers REST API."""

__version__ = "0.2.0"
__all__ = ["MockServer", "MockWorld", "Server", "Settings"]

TYPE_CHECKING = False  # type checkers read it as true; the import of typing would cost every command some milliseconds

if TYPE_CHECKING:
    from mockserver.server.serving import MockServer
    from mockserver.settings import Settings
    from mockserver.testing import MockWorld, Server
else:
    _MODULES = {"MockServer": "server.serving", "MockWorld": "testing", "Server": "testing", "Settings": "settings"}

    def __getattr__(name):
        """Import a public name when it is first used: its module may load the whole framework."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"mockserver.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
