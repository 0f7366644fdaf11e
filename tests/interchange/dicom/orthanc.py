"""An Orthanc for the tests: Debian's program, in a folder and on ports of its own."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.browser.app import START_SECONDS, free_port

PROGRAMS = (Path("/usr/sbin/Orthanc"), Path("/usr/bin/Orthanc"), Path("/usr/local/sbin/Orthanc"))
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "dermlens", "for-the-test-alone"


def program() -> Path | None:
    """Return Orthanc if it is here with its DICOMweb plugin."""
    return next((p for p in PROGRAMS if p.is_file() and PLUGIN.exists()), None)


@contextmanager
def server() -> Iterator[str]:
    """Run an Orthanc that asks for a password; gives the address of its DICOMweb service."""
    found, port = program(), free_port()
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="dermlens-orthanc-"))
    try:
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "store"),
                    "IndexDirectory": str(folder / "store"),
                    "Plugins": [str(PLUGIN)],
                    "HttpPort": port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {USER: PASSWORD},
                    "DicomServerEnabled": False,
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([found, folder / "orthanc.json"], cwd=folder, stdout=log, stderr=log)
        try:
            _wait(process, f"http://127.0.0.1:{port}/system", folder / "log")
            yield f"http://127.0.0.1:{port}/dicom-web"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, auth=(USER, PASSWORD), timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise RuntimeError(f"Orthanc did not start:\n{log.read_text(errors='replace')}")
