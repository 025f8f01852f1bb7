"""Serve an application with the same uvicorn, event loop, parser and settings as the server.

    python -m benchmarks.serve MODULE:NAME PORT [FOLDER]

FOLDER becomes the working directory, where an application stores its data.
"""

import importlib
import os
import sys

import uvicorn


def main() -> None:
    target, port, *folder = sys.argv[1:]
    if folder:
        os.chdir(folder[0])
    module, _, name = target.partition(":")
    config = uvicorn.Config(
        getattr(importlib.import_module(module), name),
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
