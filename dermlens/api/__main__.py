"""The API alone, without the dashboard: `python -m dermlens.api serve --port 8502`, or its description."""

import argparse
import logging
import sys
from collections.abc import Sequence

import uvicorn

from dermlens.api.access import check_address, guard, only_here
from dermlens.api.app import create
from dermlens.api.beside import audience, load_models
from dermlens.api.secret_files import auth_section
from dermlens.errors import DermlensError
from dermlens.files.documents import encode_object
from dermlens.ingest import pool
from dermlens.models.model import AnyModel
from dermlens.server import memory


def description() -> str:
    """Return the OpenAPI description of the API, as JSON."""
    return encode_object(create(lambda: (), only_here).openapi()).decode()


def serve(host: str, port: int) -> None:
    """Load the models and serve them until stopped.

    Raises:
        DermlensError: the settings would open the API to strangers, or cannot be read.
    """
    auth = auth_section()
    door = guard(auth, audience())
    if auth is None:
        check_address(host)
    memory.keep_few_heaps()
    memory.wipe_what_is_freed()
    pool.warm()
    ready: Sequence[AnyModel] = load_models()
    app = create(lambda: ready, door)
    uvicorn.run(app, host=host, port=port, server_header=False, proxy_headers=False, log_level="warning")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dermlens.api", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="answer requests until stopped")
    serving.add_argument("--host", default="localhost", help="address to listen on (default: %(default)s)")
    serving.add_argument("--port", type=int, default=8502, help="default: %(default)s")
    commands.add_parser("openapi", help="print the OpenAPI description")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if given.command == "openapi":
        sys.stdout.write(description())
        return 0
    try:
        serve(given.host, given.port)
    except DermlensError as e:
        print(f"Not started: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
