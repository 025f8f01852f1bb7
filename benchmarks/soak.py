"""Measure memory and disk over 100,000 exchanges in 2,000 short-lived worlds, as on a long-running CI server.

    python -m benchmarks.soak [--worlds 2000]

Half of the worlds are deleted by the client, the others are retired by the server at the limit.
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.candidates import memory

EXCHANGES = 50
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n%b\r\n--b--\r\n'


def send(
    client: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", kind: str = "application/json"
) -> bytes:
    client.request(method, path, body or None, {"api-key": "k", "Content-Type": kind} if body else {"api-key": "k"})
    response = client.getresponse()
    content = response.read()
    assert response.status == 200, content
    return content


def run_world(port: int, number: int) -> None:
    """Send 50 requests to a world; delete every second world."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    base = f"/w/soak-{number}/v1/containers"
    sent = 0
    while sent < EXCHANGES:
        box = json.loads(send(client, "POST", base, b'{"name": "box"}'))["id"]
        form = FORM % (b"%d." % number * 200)
        file = json.loads(send(client, "POST", f"{base}/{box}/files", form, "multipart/form-data; boundary=b"))["id"]
        for path in (f"{base}/{box}", f"{base}/{box}/files", f"{base}/{box}/files/{file}/content"):
            send(client, "GET", path)
        sent += 5
    if number % 2:
        send(client, "DELETE", f"/_mock/worlds/soak-{number}")
    client.close()


def disk_usage(directory: Path) -> int:
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=2_000)
    worlds = parser.parse_args().worlds
    with tempfile.TemporaryDirectory() as folder:
        limits = ["--max-worlds", "100", "--world-ttl", "0.5s", "--data", folder]
        command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--json", "--quiet", *limits]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server, ThreadPoolExecutor(4) as pool:
            assert server.stdout
            port = json.loads(server.stdout.readline())["port"]
            print("| exchanges | worlds so far | memory | disk |\n|---|---|---|---|", flush=True)
            step = max(1, worlds // 8)
            for start in range(0, worlds, step):
                done = range(start, min(worlds, start + step))
                list(pool.map(run_world, [port] * len(done), done))
                resident, disk = memory(server.pid, "VmRSS") / 1e6, disk_usage(Path(folder)) / 1e6
                print(
                    f"| {(done[-1] + 1) * EXCHANGES:,} | {done[-1] + 1:,} | {resident:.1f} MB | {disk:.1f} MB |",
                    flush=True,
                )
            server.terminate()
            assert server.wait(20) == 0


if __name__ == "__main__":
    main()
