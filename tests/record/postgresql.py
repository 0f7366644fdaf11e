"""A server of PostgreSQL for the tests: Debian's programs, a folder, a port and a user of its own."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.app import START_SECONDS, free_port

DEBIAN = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
"""Who runs it where the tests run as root, whom it refuses."""


def binaries() -> Path | None:
    """Return the folder with initdb and postgres, the newest of Debian's or that on the PATH; None without them."""
    found = [p for p in DEBIAN.glob("*/bin") if (p / "initdb").is_file()] if DEBIAN.is_dir() else []
    if found:
        return max(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p.parent.name)])
    there = shutil.which("initdb")
    return Path(there).parent if there else None


def _user() -> dict[str, Any]:
    """Return what makes subprocess run a program as a user who is not root."""
    if os.geteuid() != 0:
        return {}
    for name in USERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError(f"PostgreSQL does not run as root, and there is no user {' or '.join(USERS)}.")


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen, port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def url(self, database: str, **parameters: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql+psycopg://dermlens@127.0.0.1:{self.port}/{database}" + (f"?{query}" if query else "")

    def create(self, database: str) -> str:
        """Make a database and return its address."""
        import psycopg

        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=dermlens dbname=postgres", autocommit=True) as c:
            c.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def create_in(self, folder: Path, database: str) -> str:
        """Make a database whose tables lie in a folder, which is made too, and return its address."""
        import psycopg

        folder.mkdir()
        if user := _user():
            os.chown(folder, user["user"], user["group"])
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=dermlens dbname=postgres", autocommit=True) as c:
            c.execute(f"CREATE TABLESPACE apart LOCATION '{folder}'")
            c.execute(f'CREATE DATABASE "{database}" TABLESPACE apart')
        return self.url(database)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def server(safe: bool = False) -> Iterator[Server]:
    """Run a server in a folder of its own, gone with it.

    Args:
        safe: whether commits wait for the disk, as they do where a record is kept; tests need not.
    """
    programs, user = binaries(), _user()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="dermlens-postgresql-"))
    try:
        if user:
            os.chown(folder, user["user"], user["group"])
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        command = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "dermlens",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **user)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr[-500:]}")
        port = free_port()
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        settings |= {"max_connections": 100, "log_statement": "none", "log_error_verbosity": "terse"} | (
            {} if safe else {"fsync": "off"}
        )
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *options],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                **user,
            )
        running = Server(process, port, folder)
        try:
            _wait(running)
            yield running
        finally:
            process.send_signal(signal.SIGINT)  # end at once, whoever is connected
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(running: Server) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            psycopg.connect(
                f"host=127.0.0.1 port={running.port} user=dermlens dbname=postgres", connect_timeout=2
            ).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start:\n{running.log()}")
