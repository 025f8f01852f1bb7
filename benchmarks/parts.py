"""Compare an upload in parts with one upload of the same bytes: speed and memory growth.

    python -m benchmarks.parts [--mebibytes 1024] [--parts 16] [--connections 4] [--rounds 3]

Each round sends the bytes to `/files`, and then in parts that are completed to a File. Completing hashes and writes
all bytes a second time.
"""

import argparse
import json
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import candidates
from benchmarks.candidates import Running, started
from benchmarks.load import LargeForm, Request, send_form
from mockserver.clock import stopwatch


def post(running: Running, path: str, **body: object) -> Any:
    return json.loads(Request("POST", running.base + path, json.dumps(body).encode()).send(running.port))


def upload_in_parts(running: Running, parts: list[LargeForm], connections: int) -> tuple[float, str]:
    """Upload and complete the parts; return the seconds that it took and the id of the File."""
    for part in parts:
        part.change()
    size, started_at = sum(part.size for part in parts), stopwatch()
    body = {"bytes": size, "filename": "large.bin", "purpose": "vision", "mime_type": "application/octet-stream"}
    path = f"/uploads/{post(running, '/uploads', **body)['id']}"
    with ThreadPoolExecutor(connections) as pool:
        responses = pool.map(lambda part: send_form(running.port, f"{running.base}{path}/parts", part.path)[1], parts)
    part_ids = [json.loads(response)["id"] for response in responses]
    completed = post(running, f"{path}/complete", part_ids=part_ids)
    return stopwatch() - started_at, completed["file"]["id"]


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
        with started(candidates.PERSISTENT, Path(folder) / "server", "--max-upload", str(size)) as running:
            for number in range(given.rounds + 1):
                before = running.resident()
                running.reset_peak()
                whole_seconds, response = whole.upload(running.port, f"{running.base}/files")
                whole_growth = running.peak() - before
                Request("DELETE", f"{running.base}/files/{json.loads(response)['id']}").send(running.port)
                before = running.resident()
                running.reset_peak()
                parts_seconds, file_id = upload_in_parts(running, parts, given.connections)
                parts_growth = running.peak() - before
                Request("DELETE", f"{running.base}/files/{file_id}").send(running.port)
                if number:  # the first round is a warm-up
                    ratios.append(whole_seconds / parts_seconds)
                    print(
                        f"{size / whole_seconds / 1e6:.0f} MB/s to /files (+{whole_growth / (1 << 20):.1f} MiB),",
                        end=" ",
                    )
                    print(
                        f"{size / parts_seconds / 1e6:.0f} MB/s in parts (+{parts_growth / (1 << 20):.1f} MiB)",
                        end=", ",
                    )
                    print(f"{ratios[-1]:.2f} times as fast")
        print(f"median: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()
