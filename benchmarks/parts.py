"""An upload in parts beside one upload of the same bytes: speed, and memory growth.

    python -m benchmarks.parts [--mebibytes 1024] [--parts 16] [--connections 4] [--rounds 3]

Each round sends the bytes to `/files`, and then in parts, completed to a File with the same content. Completing hashes
and writes all bytes a second time.
"""

import argparse
import json
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import candidates as by
from benchmarks.candidates import Running, started
from benchmarks.load import LargeForm, Request, send_form
from mockserver.clock import stopwatch


def ask(running: Running, path: str, **body: object) -> Any:
    return json.loads(Request("POST", running.base + path, json.dumps(body).encode()).ask(running.port))


def in_parts(running: Running, parts: list[LargeForm], connections: int) -> tuple[float, str]:
    """Seconds until the File is there, and its id."""
    for part in parts:
        part.change()
    size, begun = sum(part.size for part in parts), stopwatch()
    new = {"bytes": size, "filename": "large.bin", "purpose": "vision", "mime_type": "application/octet-stream"}
    path = f"/uploads/{ask(running, '/uploads', **new)['id']}"
    with ThreadPoolExecutor(connections) as pool:
        sent = pool.map(lambda part: send_form(running.port, f"{running.base}{path}/parts", part.path)[1], parts)
    part_ids = [json.loads(response)["id"] for response in sent]
    completed = ask(running, f"{path}/complete", part_ids=part_ids)
    return stopwatch() - begun, completed["file"]["id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("mebibytes", 1_024), ("parts", 16), ("connections", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    size = given.mebibytes << 20
    with tempfile.TemporaryDirectory() as folder:
        whole = LargeForm(Path(folder) / "whole", size, purpose="vision")
        parts = [LargeForm(Path(folder) / f"part-{n}", size // given.parts, field="data") for n in range(given.parts)]
        ratios = []
        with started(by.KEPT, Path(folder) / "server", "--max-upload", str(size)) as running:
            for number in range(given.rounds + 1):
                before = running.resident()
                running.forget_peak()
                seconds, response = whole.upload(running.port, f"{running.base}/files")
                alone = running.peak() - before
                Request("DELETE", f"{running.base}/files/{json.loads(response)['id']}").ask(running.port)
                before = running.resident()
                running.forget_peak()
                in_all, file_id = in_parts(running, parts, given.connections)
                growth = running.peak() - before
                Request("DELETE", f"{running.base}/files/{file_id}").ask(running.port)
                if number:  # the first round is a warm-up
                    ratios.append(seconds / in_all)
                    print(f"{size / seconds / 1e6:.0f} MB/s to /files (+{alone / (1 << 20):.1f} MiB),", end=" ")
                    print(f"{size / in_all / 1e6:.0f} MB/s in parts (+{growth / (1 << 20):.1f} MiB)", end=", ")
                    print(f"{ratios[-1]:.2f} times as fast")
        print(f"median: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()
