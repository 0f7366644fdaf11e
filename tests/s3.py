"""A server that speaks S3: moto's, which `make cluster-test` installs by itself."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from pyarrow import fs


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The options of an address of a local server, with a bucket "cohort" and a bucket "record"."""
    server = os.environ.get("DERMLENS_MOTO")
    if server is None:
        pytest.skip("DERMLENS_MOTO names no server: make cluster-test installs one")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    before = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], **quiet) as running:  # type: ignore[call-overload]
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
        system, _ = fs.FileSystem.from_uri(f"s3://cohort?{options}")
        for bucket in ("cohort", "record"):
            system.create_dir(bucket)
        yield options
        running.terminate()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
