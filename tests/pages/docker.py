"""A stand-in for the docker command where no engine runs: runs the image's command with the Dockerfile's environment.

It supports the commands and options that the manual uses, and fails on all others.
"""

import argparse
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATE = Path(os.environ["STATE"])


def image_environment() -> dict[str, str]:
    """Return the server's environment variables in the last stage of the Dockerfile."""
    stage = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[-1]
    words = shlex.split(re.sub(r"\\\n", " ", stage), comments=True)
    return dict(word.split("=", 1) for word in words if word.startswith("MOCKSERVER_"))


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rm", action="store_true")
    parser.add_argument("-d", "--detach", action="store_true", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("-p", dest="ports", action="append", default=[])
    parser.add_argument("-e", dest="environment", action="append", default=[])
    parser.add_argument("-v", dest="volumes", action="append", default=[])
    parser.add_argument("image", choices=["mockserver"])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    image = image_environment() | dict(each.split("=", 1) for each in given.environment)
    volumes = {parts[1]: parts[0] for parts in (each.split(":") for each in given.volumes)}
    assert volumes.keys() <= {"/data", "/seeds"}, f"the image has no volumes {volumes.keys()}"
    address, host_port, container_port = re.fullmatch(r"(?:([\d.]+):)?(\d+):(\d+)", given.ports[0]).groups()
    assert address == "127.0.0.1", "the port would be open to the network"
    assert container_port == image["MOCKSERVER_PORT"], (
        f"the server listens on {image['MOCKSERVER_PORT']}, not on {container_port}"
    )
    folder = tempfile.mkdtemp(dir=STATE)
    data = STATE / f"volume-{volumes['/data']}" if "/data" in volumes else Path(folder, "data")
    seeds = volumes.get("/seeds", folder)
    overrides = {
        "MOCKSERVER_HOST": address,
        "MOCKSERVER_PORT": host_port,
        "MOCKSERVER_DATA": str(data),
        "MOCKSERVER_SEED": seeds,
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOCKSERVER_")} | image | overrides
    with (STATE / f"{given.name}.log").open("w") as log:
        server = subprocess.Popen(
            ["mockserver", *(given.command or ["serve"])],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    container = {"pid": server.pid, "environment": environment}
    (STATE / f"{given.name}.json").write_text(json.dumps(container))
    print("0" * 64)


def main(command: str, *arguments: str) -> int:
    if command == "build":
        assert arguments == ("-t", "mockserver", "."), arguments
        return 0
    if command == "run":
        run(list(arguments))
        return 0
    file = STATE / f"{arguments[0]}.json"
    container = json.loads(file.read_text())
    if command == "exec":
        return subprocess.run(arguments[1:], env=container["environment"]).returncode
    assert command == "stop", command
    process = os.pidfd_open(container["pid"])
    os.kill(container["pid"], signal.SIGTERM)
    select.select([process], [], [])
    file.unlink()
    print(arguments[0])
    return 0


sys.exit(main(*sys.argv[1:]))
