"""The command line. Commands import what is slow to load when they need it."""

import gc
import json
import logging
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mockserver import __version__
from mockserver.cli import options
from mockserver.cli.options import BAD_SEED, EPILOG, FAILED, INVALID, SWITCHES_HELP, Parsed, die
from mockserver.clock import stopwatch
from mockserver.settings import Settings, environment_name
from mockserver.settings import url as url_of

if TYPE_CHECKING:
    from mockserver.server.serving import Opened


class _Group(click.Group):
    """Loads the commands of other modules when one is used, so that a health check starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from mockserver.cli import control, run

        for command in (run.run, *control.commands.commands.values()):
            self.add_command(command)
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands:
            self.list_commands(ctx)
        return self.commands.get(cmd_name)


@click.group(
    cls=_Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="mockserver %(version)s")
def main() -> None:
    """A local, stateful mock server of the OpenAI Containers API.

    \b
    Start it, and point any OpenAI client at it:
      mockserver serve
      export OPENAI_BASE_URL=http://localhost:8080/v1 OPENAI_API_KEY=sk-test
    """


def _one_process(_: click.Context, option: click.Parameter, given: str) -> None:
    """Reject several processes, which earlier versions supported."""
    if given != "1":
        die(
            f"--workers ({option.envvar}) takes only 1, as a server is one process now; start several servers instead, "
            "each with its own --data and --port, behind a proxy that hashes on the world's name "
            "(docs/guides/many-servers.md)",
            2,
        )


@main.command(epilog=f"{EPILOG}\n\n{SWITCHES_HELP}")
@options.settings()
@click.option(
    "--workers",
    default="1",
    envvar=environment_name("workers"),
    hidden=True,
    expose_value=False,
    callback=_one_process,
)
@options.environment_option("quiet", "Print no banner, and log no requests.", is_flag=True)
@options.environment_option("json", "Print one line of JSON instead of the banner.", "as_json", is_flag=True)
def serve(quiet: bool, as_json: bool, **given: Any) -> None:
    """Serve the API until SIGINT, SIGTERM or SIGHUP.

    Every option can be given as the environment variable named beside it, several values separated
    by commas; a flag wins over the environment.
    """
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # to look for plugins reads the metadata of all packages
    gc.disable()  # nothing that a start loads becomes garbage: collections would take a fifth of the time
    options.warn_of_unknown_variables()
    stop = _Stop()
    settings = options.starting(given, "%(asctime)s %(levelname)s %(message)s")
    if quiet:
        logging.getLogger("mockserver.requests").setLevel(logging.WARNING)

    import asyncio

    from mockserver.cli.log import log_by_thread
    from mockserver.server.serving import new_event_loop, open_server

    with options.start_errors_end_the_program():
        server = open_server(settings)
    with closing(server.mock) as mock:
        at, port = server.url, server.sockets[0].getsockname()[1]
        about = {"url": at, "base_url": f"{at}/v1", "port": port, "pid": os.getpid(), "data": str(mock.directory)}
        banner = (
            json.dumps({**about, "version": __version__}) if as_json else "" if quiet else _banner(settings, at, mock)
        )
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gc.enable()
        if banner:
            print(banner, flush=True)
        with log_by_thread(mock), asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(stop.serve(server))


@main.command()
@click.argument("seeds", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.settings("max_upload")
def validate(seeds: tuple[Path, ...], max_upload: int) -> None:
    """Check seed files, or directories of them, without serving; report each faulty file."""
    from mockserver.seeds.loader import every_problem, read_seeds
    from mockserver.settings import SeedError

    try:
        seed = read_seeds(seeds, max_upload)
    except SeedError as error:
        for problem in every_problem(seeds, max_upload) or [str(error)]:
            options.warn(problem)
        sys.exit(BAD_SEED)
    print(f"ok: {seed.summary()}")


@main.command()
def schema() -> None:
    """Print the JSON Schema of seed files, for editors and generators."""
    from mockserver.seeds.schema import seed_schema

    print(json.dumps(seed_schema(), indent=2))


@main.command()
def openapi() -> None:
    """Print the OpenAPI document of the API, for generators and other tools."""
    from mockserver.api.app import create_app
    from mockserver.mock import Mock

    with closing(Mock(Settings())) as mock:
        print(json.dumps(create_app(mock).openapi(), indent=2))


def _server_address(text: str) -> str:
    from mockserver.cli.connection import server_address

    return server_address(text)


@main.command()
@options.settings(
    "host",
    "port",
    "tls_cert",
    help={
        "host": "Address on which the server listens.",
        "port": "Port on which the server listens.",
        "tls_cert": "Certificate of a server that serves HTTPS.",
    },
)
@options.environment_option(
    "url",
    "Check the server at this address instead; --host, --port and their variables win over the variable.",
    metavar="URL",
    type=Parsed(_server_address),
)
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, help="How long to keep trying.", metavar="SECONDS")
@click.pass_context
def healthcheck(
    ctx: click.Context, host: tuple[str, ...], port: int, tls_cert: Path | None, url: str | None, wait: float
) -> None:
    """Exit with 0 if a server responds on this machine, or at --url, else with 1.

    Tries each --host in turn, as serve listens on all of them.
    """
    import urllib.request
    from http.client import HTTPException

    from mockserver.cli.connection import NO_PORT
    from mockserver.client import reason, tls_context

    source = {name: ctx.get_parameter_source(name) for name in ("host", "port", "tls_cert", "url")}
    by_default = all(source[name] == ParameterSource.DEFAULT for name in ("host", "port", "tls_cert"))
    if source["url"] == ParameterSource.ENVIRONMENT and not by_default:
        url = None
    if not port and not url:
        raise click.BadParameter(NO_PORT, param_hint="--port")

    hosts = (*host, "::1") if "::" in host else host  # localhost, by which :: is reached, may be IPv4 alone
    try:
        addresses = [url] if url else [url_of(each, port, tls_cert is not None) for each in hosts]
        trusted = urllib.request.HTTPSHandler(context=tls_context(None if url else tls_cert))
    except OSError as error:
        die(f"{tls_cert} can't be read as a certificate ({error.strerror}); correct --tls-cert", INVALID)
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), trusted
    )  # a proxy wouldn't reach this machine
    until = stopwatch() + wait
    while True:
        failures = []
        for at in addresses:
            try:
                with direct.open(f"{at}/health", timeout=2):
                    return
            except (OSError, HTTPException) as error:
                cause = getattr(error, "reason", None)
                failures.append(f"{at} ({reason(cause if isinstance(cause, Exception) else error)})")
        if stopwatch() >= until:
            die(f"no healthy server at {' or '.join(failures)}; start one with: mockserver serve", FAILED)
        time.sleep(0.05)


@main.command()
def version() -> None:
    """Print the version."""
    print(f"mockserver {__version__}")


class _Stop:
    """Stops the server on SIGINT, SIGTERM or SIGHUP. A signal during the start stops it when it has started.

    A second signal doesn't wait for open connections.
    """

    def __init__(self) -> None:
        self._server: Opened | None = None
        self.signals = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
            signal.signal(signal.SIGHUP, self._on_signal)

    async def serve(self, server: "Opened") -> None:
        self._server = server
        self._pass_on()
        await server.serve(server.sockets)

    def _on_signal(self, *_: object) -> None:
        self.signals += 1
        self._pass_on()

    def _pass_on(self) -> None:
        if self._server:
            self._server.should_exit = self.signals > 0
            self._server.force_exit = self.signals > 1


def _banner(settings: Settings, at: str, mock: Any) -> str:
    key = "sk-test" if not settings.api_key else "<one of the keys given with --api-key>"
    inspect = "closed: give --control-token or --control-open" if settings.control_closed else f"{at}/_mock/"
    lines = [
        f"mockserver {__version__}, a mock of the OpenAI Containers API",
        "",
        f"  URL      {at}/v1",
        f"  Inspect  {inspect}",
        f"  Data     {mock.directory}" + ("" if settings.data else " (removed at the end; keep it with --data DIR)"),
        f"  Seeded   {mock.seeded}",
    ]
    if mock.kept_worlds:
        some = ", ".join(mock.kept_worlds[:5]) + (", …" if len(mock.kept_worlds) > 5 else "")
        lines.append(f"  Kept     {len(mock.kept_worlds)} worlds, unchanged: {some}")
    lines += ["", "Point a client at it:", "", f"  export OPENAI_BASE_URL={at}/v1 OPENAI_API_KEY={key}", ""]
    if settings.tls_cert:
        lines += ["The client has to trust the certificate or its CA, for example by SSL_CERT_FILE.", ""]
    return "\n".join(lines)
