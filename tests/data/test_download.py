"""Downloads run for real, against a local server that speaks the shapes of both APIs and misbehaves on request."""

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pandas as pd
import pytest
import requests

from data import download, fetch
from data.download import download_dataverse, download_isic, main
from data.fetch import ATTEMPTS, Remote
from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import IMAGE_FOLDERS, MASK_FOLDER, METADATA, load_table
from dermlens.errors import DownloadError

FACTS = (
    "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    "HAM_1,ISIC_0000001,nv,histo,40.0,male,back\n"
    "HAM_1,ISIC_0000002,nv,histo,40.0,male,back\n"
    "HAM_2,ISIC_0000003,mel,histo,,female,face\n"
)
IDS = ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"]


def noise(kilobytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(kilobytes * 1024)


def jpeg(shade: int) -> bytes:
    return cv2.imencode(".jpg", np.full((36, 48, 3), shade, np.uint8))[1].tobytes()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, content in files.items():
            z.writestr(name, content)
    return buffer.getvalue()


class Server:
    """A storage with an API in front; the public attributes say how it behaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # what /storage/<key> serves
        self.json: dict[str, dict] = {}  # what an API path answers
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []  # bytes after which each of the next bodies breaks off
        self.codes: list[int] = []  # status codes of the next storage answers, before it serves again
        self.headers: dict[str, str] = {}
        self.ranges = True
        self.etags = True
        self.log: list[tuple[str, str | None]] = []  # path and Range of every request
        self.sent = 0  # body bytes of the storage
        self.url = ""

    def fetched(self) -> list[str]:
        return [path for path, _ in self.log if path.startswith("/storage/")]


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            state.log.append((self.path, self.headers.get("Range")))
            if self.path in state.json:
                self.answer(200, json.dumps(state.json[self.path]).encode())
            elif self.path in state.redirects:
                self.send_response(303)
                self.send_header("Location", state.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif state.codes and path.startswith("/storage/"):
                self.answer(state.codes.pop(0), b"busy")
            elif path.removeprefix("/storage/") in state.files:
                self.serve(state.files[path.removeprefix("/storage/")])
            else:
                self.answer(404, b"")

        def serve(self, content: bytes) -> None:
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            same = self.headers.get("If-Range") in (None, etag)
            start = int(asked[1]) if asked and state.ranges and same else 0
            if asked and state.ranges and same and start >= len(content):
                self.answer(416, b"")
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.etags:
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if state.cuts:
                body = body[: state.cuts.pop(0)]
                self.close_connection = True
            state.sent += len(body)
            self.wfile.write(body)

        def answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield state
    http.shutdown()
    http.server_close()


def remote(server: Server, key: str, digest: str | None = None) -> Remote:
    content = server.files[key]
    return Remote(f"{server.url}/storage/{key}", len(content), "md5", digest or hashlib.md5(content).hexdigest())


def no_sleep(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s without a reason")


@contextmanager
def begun(target: Path, content: bytes, etag: str = "") -> Iterator[None]:
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    part.with_name(part.name + ".etag").write_text(etag)
    yield
    assert not part.exists()
    assert not part.with_name(part.name + ".etag").exists()


def pull(server: Server, target: Path, sleep: fetch.Sleep = no_sleep, digest: str | None = None) -> None:
    with requests.Session() as session:
        fetch.fetch(session, remote(server, "f", digest), target, sleep)


# One file


def test_a_cut_connection_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(300)
    server.cuts = [fetch.PIECE, fetch.PIECE + 100]
    waits: list[float] = []
    pull(server, tmp_path / "f", waits.append)
    assert (tmp_path / "f").read_bytes() == server.files["f"]
    assert [r for _, r in server.log] == [None, f"bytes={fetch.PIECE}-", f"bytes={2 * fetch.PIECE}-"]
    assert server.sent == len(server.files["f"]) + 100, "only the piece that was cut is sent again"
    assert waits == [1, 1], "each attempt brought bytes, so the wait does not grow"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(server: Server, tmp_path: Path) -> None:
    content = server.files["f"] = noise(300)
    with begun(tmp_path / "f", content[:200_000], f'"{hashlib.md5(content).hexdigest()}"'):
        pull(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == content
    assert server.sent == len(content) - 200_000


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(100, seed=2)
    with begun(tmp_path / "f", noise(50, seed=1), '"another"'):
        pull(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.files["f"]


def test_halves_that_do_not_belong_together_are_fetched_anew_once(server: Server, tmp_path: Path) -> None:
    server.etags = False
    server.files["f"] = noise(100, seed=2)
    with begun(tmp_path / "f", noise(50, seed=1)):
        pull(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.files["f"]
    assert [r for _, r in server.log] == ["bytes=51200-", None]


def test_more_on_disk_than_the_file_has_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(10)
    with begun(tmp_path / "f", noise(20)):
        pull(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.files["f"]


def test_a_range_that_cannot_be_met_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    content = server.files["f"] = noise(10)
    unpublished = Remote(f"{server.url}/storage/f", None, "md5", hashlib.md5(content).hexdigest())
    waits: list[float] = []
    with begun(tmp_path / "f", noise(20)), requests.Session() as session:
        fetch.fetch(session, unpublished, tmp_path / "f", waits.append)
    assert (tmp_path / "f").read_bytes() == content
    assert len(waits) == 1


def test_a_server_that_ignores_ranges_sends_the_file_from_the_start(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.files["f"] = noise(300)
    server.cuts = [100_000]
    pull(server, tmp_path / "f", lambda _: None)
    assert (tmp_path / "f").read_bytes() == server.files["f"]


def test_without_tag_and_checksum_nothing_is_glued_together(server: Server, tmp_path: Path) -> None:
    server.etags = False
    server.files["f"] = noise(10, seed=2)
    with begun(tmp_path / "f", noise(5, seed=1)), requests.Session() as session:
        fetch.fetch(session, Remote(f"{server.url}/storage/f"), tmp_path / "f", no_sleep)
    assert (tmp_path / "f").read_bytes() == server.files["f"]
    assert [r for _, r in server.log] == [None]


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(10)
    with pytest.raises(DownloadError, match=r"md5 is .*, published is 0000"):
        pull(server, tmp_path / "f", digest="0" * 32)
    assert list(tmp_path.iterdir()) == []
    assert len(server.log) == 1


def test_another_size_than_published_is_refused_before_the_body(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(10)
    wrong = Remote(f"{server.url}/storage/f", 5, "md5", "0" * 32)
    with requests.Session() as session, pytest.raises(DownloadError, match="10240 bytes are sent, 5 bytes"):
        fetch.fetch(session, wrong, tmp_path / "f", no_sleep)


def test_a_missing_file_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    with requests.Session() as session, pytest.raises(DownloadError, match="HTTP 404"):
        fetch.fetch(session, Remote(f"{server.url}/storage/none"), tmp_path / "f", no_sleep)
    assert len(server.log) == 1


def test_server_errors_are_waited_out_with_growing_pauses(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(10)
    server.codes = [503, 500, 429]
    waits: list[float] = []
    pull(server, tmp_path / "f", waits.append)
    assert waits == [1, 2, 4]
    assert (tmp_path / "f").read_bytes() == server.files["f"]


def test_a_server_may_ask_for_a_longer_pause_but_not_for_any(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(10)
    server.codes = [503, 503]
    server.headers = {"Retry-After": "7"}
    waits: list[float] = []
    pull(server, tmp_path / "f", waits.append)
    assert waits == [7, 7]
    server.codes = [503]
    server.headers = {"Retry-After": "86400"}
    pull(server, tmp_path / "g", waits.append)
    assert waits[2] == fetch.MAX_WAIT


def test_attempts_are_bounded(server: Server, tmp_path: Path) -> None:
    server.files["f"] = noise(10)
    server.codes = [503] * 100
    waits: list[float] = []
    with pytest.raises(DownloadError, match=f"gave up after {ATTEMPTS} attempts: HTTP 503"):
        pull(server, tmp_path / "f", waits.append)
    assert len(server.log) == ATTEMPTS
    assert waits == [1, 2, 4, 8, 16]


def test_a_server_that_always_cuts_at_the_same_byte_is_given_up(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.files["f"] = noise(300)
    server.cuts = [fetch.PIECE + 1000] * 100
    with pytest.raises(DownloadError, match="gave up"):
        pull(server, tmp_path / "f", lambda _: None)
    assert len(server.log) <= ATTEMPTS + 1
    assert not (tmp_path / "f").exists()


def test_no_server_is_a_download_error(tmp_path: Path) -> None:
    with requests.Session() as session, pytest.raises(DownloadError, match="no connection"):
        fetch.fetch(session, Remote("http://127.0.0.1:9/f"), tmp_path / "f", lambda _: None)
    with requests.Session() as session, pytest.raises(DownloadError, match="cannot be asked for"):
        fetch.fetch(session, Remote("nonsense"), tmp_path / "f", no_sleep)


# Zips


@pytest.mark.parametrize(
    "name", ["../ISIC_1.jpg", "a/../../ISIC_1.jpg", "/ISIC_1.jpg", "..\\ISIC_1.jpg", "C:/ISIC_1.jpg"]
)
def test_a_zip_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "a.zip"
    archive.write_bytes(zipped({"ISIC_2.jpg": b"x", name: b"x"}))
    with pytest.raises(DownloadError, match="unsafe"):
        fetch.unpack(archive, tmp_path / "in" / "out")
    assert sorted(p.name for p in tmp_path.rglob("*.jpg")) == []


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("ISIC_1.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="unsafe"):
        fetch.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_unpacking_is_flat_and_takes_images_only(tmp_path: Path) -> None:
    members = {
        "folder/ISIC_1_segmentation.png": b"1",
        "folder/ISIC_2_segmentation.png": b"2",
        "__MACOSX/folder/._ISIC_1_segmentation.png": b"junk",
        "folder/.DS_Store": b"junk",
    }
    (tmp_path / "a.zip").write_bytes(zipped(members))
    assert fetch.unpack(tmp_path / "a.zip", tmp_path / "out") == 2
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        "ISIC_1_segmentation.png": b"1",
        "ISIC_2_segmentation.png": b"2",
    }


def test_zips_that_are_damaged_empty_or_ambiguous_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"no zip")
    with pytest.raises(DownloadError, match="not a zip"):
        fetch.unpack(archive, tmp_path / "out")
    whole = zipped({"ISIC_1.jpg": b"some content"})
    archive.write_bytes(whole.replace(b"some content", b"s0me content"))
    with pytest.raises(DownloadError, match="CRC"):
        fetch.unpack(archive, tmp_path / "out")
    archive.write_bytes(zipped({"readme.txt": b"x"}))
    with pytest.raises(DownloadError, match="0 images"):
        fetch.unpack(archive, tmp_path / "out")
    archive.write_bytes(zipped({"a/ISIC_1.jpg": b"x", "b/ISIC_1.jpg": b"y"}))
    with pytest.raises(DownloadError, match="2 images with 1 names"):
        fetch.unpack(archive, tmp_path / "out")


# Dataverse


LISTING = f"/api/datasets/:persistentId/?persistentId={download.DOI.replace(':', '%3A').replace('/', '%2F')}"


@pytest.fixture
def dataverse(server: Server) -> Server:
    """The dataset as Dataverse lists it: a converted table, zips behind redirects, and files of no interest."""
    contents = {
        "HAM10000_images_part_1.zip": zipped({"ISIC_0000001.jpg": jpeg(10), "ISIC_0000002.jpg": jpeg(20)}),
        "HAM10000_images_part_2.zip": zipped({"ISIC_0000003.jpg": jpeg(30)}),
        "HAM10000_segmentations_lesion_tschandl.zip": zipped(
            {f"HAM10000_segmentations_lesion_tschandl/{i}_segmentation.png": b"png" for i in IDS}
        ),
        "HAM10000_metadata.tab": FACTS.encode(),
        "ISIC2018_Task3_Test_Images.zip": zipped({"ISIC_0000009.jpg": jpeg(90)}),
    }
    entries = []
    for number, (name, content) in enumerate(contents.items(), 1):
        server.files[str(number)] = content
        file = {"id": number, "filename": name, "filesize": len(content), "md5": hashlib.md5(content).hexdigest()}
        file["checksum"] = {"type": "MD5", "value": file["md5"]}
        path = f"/api/access/datafile/{number}"
        if name.endswith(".tab"):
            # The published size is of the .tab, the checksum of the original that was uploaded.
            file |= {
                "filesize": len(content) + 99,
                "originalFileFormat": "text/csv",
                "originalFileName": "HAM10000_metadata.csv",
                "originalFileSize": len(content),
            }
            path += "?format=original"
        server.redirects[path] = f"{server.url}/storage/{number}?signature=abc"
        entries.append({"label": name, "restricted": False, "dataFile": file})
    server.json[LISTING] = {"status": "OK", "data": {"id": 1, "latestVersion": {"files": entries}}}
    return server


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_dataverse_ends_in_the_official_layout(dataverse: Server, tmp_path: Path) -> None:
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert sorted(contents(tmp_path)) == sorted(
        [
            f"{IMAGE_FOLDERS[0]}/ISIC_0000001.jpg",
            f"{IMAGE_FOLDERS[0]}/ISIC_0000002.jpg",
            f"{IMAGE_FOLDERS[1]}/ISIC_0000003.jpg",
            *[f"{MASK_FOLDER}/{i}_segmentation.png" for i in IDS],
            METADATA,
            download.ACCOUNT,
        ]
    )
    assert (tmp_path / METADATA).read_bytes() == FACTS.encode()
    assert load_table(tmp_path, decode=True)["image_id"].tolist() == IDS


def test_a_second_run_asks_for_nothing(dataverse: Server, tmp_path: Path) -> None:
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    before, after = contents(tmp_path), len(dataverse.log)
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert len(dataverse.log) == after
    assert contents(tmp_path) == before


def test_what_is_missing_is_fetched_again_and_nothing_else(dataverse: Server, tmp_path: Path) -> None:
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    dataverse.log.clear()
    (tmp_path / IMAGE_FOLDERS[1] / "ISIC_0000003.jpg").unlink()
    with pytest.raises(DownloadError, match="holds 0 of 1 files"):
        download_dataverse(tmp_path, dataverse.url, no_sleep)
    (tmp_path / IMAGE_FOLDERS[1]).rmdir()
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert dataverse.fetched() == ["/storage/2?signature=abc"]


def test_a_failed_run_leaves_no_folder_half_written_and_the_next_one_goes_on(dataverse: Server, tmp_path: Path) -> None:
    good = dataverse.files["2"]
    dataverse.files["2"] = zipped({"ISIC_0000003.jpg": jpeg(99)}).ljust(len(good), b"\0")[: len(good)]
    with pytest.raises(DownloadError):
        download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert (tmp_path / IMAGE_FOLDERS[0]).is_dir()
    assert not (tmp_path / IMAGE_FOLDERS[1]).exists()
    assert not (tmp_path / METADATA).exists()
    dataverse.files["2"] = good
    dataverse.log.clear()
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert "/storage/1?signature=abc" not in dataverse.fetched()
    assert load_table(tmp_path)["image_id"].tolist() == IDS


def test_a_run_killed_while_unpacking_is_gone_on_with(dataverse: Server, tmp_path: Path) -> None:
    (tmp_path / f"{IMAGE_FOLDERS[0]}.zip").write_bytes(dataverse.files["1"])
    half = download._staging(tmp_path, IMAGE_FOLDERS[0])
    half.mkdir()
    (half / "ISIC_0000001.jpg").write_bytes(b"half")
    download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert "/storage/1?signature=abc" not in dataverse.fetched()
    assert (tmp_path / IMAGE_FOLDERS[0] / "ISIC_0000001.jpg").read_bytes() == jpeg(10)
    assert not half.exists()


def test_folders_of_someone_else_are_not_touched(dataverse: Server, tmp_path: Path) -> None:
    (tmp_path / IMAGE_FOLDERS[0]).mkdir()
    with pytest.raises(DownloadError, match="not made by this command"):
        download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert dataverse.log == []


def test_a_zip_with_a_path_outside_installs_nothing(dataverse: Server, tmp_path: Path) -> None:
    bad = zipped({"../ISIC_0000001.jpg": jpeg(1)})
    dataverse.files["1"] = bad
    file = dataverse.json[LISTING]["data"]["latestVersion"]["files"][0]["dataFile"]
    file |= {"filesize": len(bad), "checksum": {"type": "SHA-256", "value": hashlib.sha256(bad).hexdigest()}}
    (tmp_path / "to").mkdir()
    with pytest.raises(DownloadError, match="unsafe"):
        download_dataverse(tmp_path / "to", dataverse.url, no_sleep)
    assert list(tmp_path.rglob("*.jpg")) == []


@pytest.mark.parametrize("listing", [{}, {"data": {"latestVersion": {"files": [{"dataFile": {"id": 1}}]}}}])
def test_an_unknown_listing_is_refused(server: Server, tmp_path: Path, listing: dict) -> None:
    server.json[LISTING] = listing
    with pytest.raises(DownloadError, match="not in the known form"):
        download_dataverse(tmp_path, server.url, no_sleep)


def test_a_listing_without_a_needed_file_says_what_it_has(dataverse: Server, tmp_path: Path) -> None:
    del dataverse.json[LISTING]["data"]["latestVersion"]["files"][0]
    with pytest.raises(DownloadError, match="no HAM10000_images_part_1; it lists HAM10000_images_part_2"):
        download_dataverse(tmp_path, dataverse.url, no_sleep)


def test_metadata_in_another_form_are_refused(dataverse: Server, tmp_path: Path) -> None:
    tabs = FACTS.replace(",", "\t").encode()
    dataverse.files["4"] = tabs
    file = dataverse.json[LISTING]["data"]["latestVersion"]["files"][3]["dataFile"]
    file["checksum"]["value"] = hashlib.md5(tabs).hexdigest()
    with pytest.raises(DownloadError, match="lack the columns lesion_id"):
        download_dataverse(tmp_path, dataverse.url, no_sleep)
    assert not (tmp_path / METADATA).exists()


def test_the_command_line(dataverse: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--to", str(tmp_path / "ham"), "--base-url", dataverse.url + "/"]
    assert main(arguments) == 0
    assert "complete" in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert main(["--to", str(tmp_path / "file"), "--base-url", dataverse.url]) == 2
    assert main(["--to", str(tmp_path / "x"), "--source", "isic", "--base-url", dataverse.url]) == 2
    assert "HTTP 404" in capsys.readouterr().err


# ISIC Archive


@pytest.fixture
def isic(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Two pages of the collection; ISIC_0000009 is of the challenge's test set, not of HAM10000."""
    monkeypatch.setattr(download, "PART_1_IMAGES", 2)

    def entry(image_id: str) -> dict:
        server.files[f"{image_id}.jpg"] = jpeg(int(image_id[-1]) * 10)
        url = f"{server.url}/storage/{image_id}.jpg?Signature=x"
        return {"isic_id": image_id, "files": {"full": {"url": url, "size": 1}}, "metadata": {"clinical": {}}}

    first = f"/images/search/?collections={download.COLLECTION}&limit=100"
    server.json[first] = {
        "count": 4,
        "next": f"{server.url}/images/search/?cursor=abc",
        "results": [entry("ISIC_0000009"), entry("ISIC_0000003")],
    }
    server.json["/images/search/?cursor=abc"] = {
        "count": None,
        "next": None,
        "results": [entry("ISIC_0000001"), entry("ISIC_0000002")],
    }
    return server


@pytest.fixture
def table(tmp_path: Path) -> Path:
    facts = pd.read_csv(io.StringIO(FACTS), dtype=str, keep_default_na=False)
    facts.assign(split="train").to_csv(tmp_path / "split.csv", index=False)
    return tmp_path / "split.csv"


def test_isic_ends_in_the_official_layout(isic: Server, tmp_path: Path, table: Path) -> None:
    to = tmp_path / "ham"
    download_isic(to, isic.url, no_sleep, table)
    assert sorted(contents(to)) == sorted(
        [
            f"{IMAGE_FOLDERS[0]}/ISIC_0000001.jpg",
            f"{IMAGE_FOLDERS[0]}/ISIC_0000002.jpg",
            f"{IMAGE_FOLDERS[1]}/ISIC_0000003.jpg",
            METADATA,
            download.ACCOUNT,
        ]
    )
    assert (to / METADATA).read_text() == FACTS
    assert load_table(to, decode=True)["lesion_id"].tolist() == ["HAM_1", "HAM_1", "HAM_2"]
    requests_so_far = len(isic.log)
    download_isic(to, isic.url, no_sleep, table)
    assert len(isic.log) == requests_so_far


def test_isic_goes_on_after_a_failure_without_fetching_an_image_twice(
    isic: Server, tmp_path: Path, table: Path
) -> None:
    to = tmp_path / "ham"
    good = isic.files.pop("ISIC_0000001.jpg")
    with pytest.raises(DownloadError, match="HTTP 404"):
        download_isic(to, isic.url, no_sleep, table)
    assert not any((to / name).exists() for name in (*IMAGE_FOLDERS, METADATA))
    isic.files["ISIC_0000001.jpg"] = good
    isic.log.clear()
    download_isic(to, isic.url, no_sleep, table)
    assert not any("ISIC_0000003" in path or "ISIC_0000009" in path for path in isic.fetched())
    assert len(load_table(to, decode=True)) == 3


def test_isic_refuses_what_is_no_image(isic: Server, tmp_path: Path, table: Path) -> None:
    isic.files["ISIC_0000003.jpg"] = b"<html>an error page</html>"
    with pytest.raises(DownloadError, match=r"ISIC_0000003: .* is not a readable image"):
        download_isic(tmp_path / "ham", isic.url, no_sleep, table)
    assert list((tmp_path / "ham").rglob("*.jpg")) == []


def test_isic_names_the_images_the_archive_does_not_have(isic: Server, tmp_path: Path, table: Path) -> None:
    isic.json["/images/search/?cursor=abc"]["results"].pop()
    with pytest.raises(DownloadError, match="1 of 3 images are not in collection 212: ISIC_0000002"):
        download_isic(tmp_path / "ham", isic.url, no_sleep, table)


def test_isic_refuses_an_unknown_answer(isic: Server, tmp_path: Path, table: Path) -> None:
    isic.json[f"/images/search/?collections={download.COLLECTION}&limit=100"] = {"detail": "moved"}
    with pytest.raises(DownloadError, match="not in the known form"):
        download_isic(tmp_path / "ham", isic.url, no_sleep, table)


# ISIC 2019


@pytest.fixture
def challenge(server: Server) -> Server:
    """The training set of ISIC 2019 as its storage serves it; the names of images that were larger end otherwise."""
    names = ["ISIC_0000001", "ISIC_0000002_downsampled"]
    images = {f"ISIC_2019_Training_Input/{name}.jpg": jpeg(40 * i) for i, name in enumerate(names)}
    images["ISIC_2019_Training_Input/ATTRIBUTION.txt"] = b"who made them"
    columns = [*isic2019.DIAGNOSES, "UNK"]
    marks = [",".join(["1.0" if column == dx else "0.0" for column in columns]) for dx in ("MEL", "SCC")]
    truth = [f"image,{','.join(columns)}", *(f"{name},{row}" for name, row in zip(names, marks, strict=True))]
    facts = ["image,age_approx,anatom_site_general,lesion_id,sex", f"{names[0]},45,,L1,male", f"{names[1]},,,,"]
    server.files |= {
        "ISIC_2019_Training_Input.zip": zipped(images),
        isic2019.GROUND_TRUTH: "\n".join(truth).encode(),
        isic2019.METADATA: "\n".join(facts).encode(),
    }
    return server


def storage(server: Server) -> str:
    return f"{server.url}/storage"


def test_isic_2019_ends_in_the_layout_that_is_read(challenge: Server, tmp_path: Path) -> None:
    download.download_isic2019(tmp_path, storage(challenge), no_sleep)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [isic2019.IMAGE_FOLDER, isic2019.GROUND_TRUTH, isic2019.METADATA, download.ACCOUNT]
    )
    table = isic2019.load_truth(tmp_path)
    assert table[["image_id", "dx", "lesion_id"]].to_numpy().tolist() == [
        ["ISIC_0000001", "mel", "L1"],
        ["ISIC_0000002", "scc", ""],
    ]
    shades = [cv2.imread(str(isic2019.image_path(tmp_path, name))).mean() for name in table["image_id"]]
    np.testing.assert_allclose(shades, [0, 40], atol=2)
    after = len(challenge.log)
    download.download_isic2019(tmp_path, storage(challenge), no_sleep)
    assert len(challenge.log) == after, "what is there is not asked for again"


def test_isic_2019_goes_on_after_a_cut(challenge: Server, tmp_path: Path) -> None:
    content = challenge.files["ISIC_2019_Training_Input.zip"]
    challenge.cuts = [10**6, 10**6, 500]  # the tables come whole
    download.download_isic2019(tmp_path, storage(challenge), lambda _: None)
    sent = [r for path, r in challenge.log if path.endswith(".zip")]
    assert len(sent) == 2
    assert len(content) > 500
    assert len(list((tmp_path / isic2019.IMAGE_FOLDER).iterdir())) == 2


def test_an_image_of_the_ground_truth_that_the_zip_lacks_is_named(challenge: Server, tmp_path: Path) -> None:
    challenge.files["ISIC_2019_Training_Input.zip"] = zipped({"ISIC_0000001.jpg": jpeg(1)})
    with pytest.raises(DownloadError, match="1 of 2 images are not in the zip: ISIC_0000002"):
        download.download_isic2019(tmp_path, storage(challenge), no_sleep)
    assert not (tmp_path / isic2019.IMAGE_FOLDER).exists()


def test_the_command_fetches_isic_2019(challenge: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--to", str(tmp_path), "--source", "isic2019", "--base-url", storage(challenge)]) == 0
    assert "ISIC 2019 is complete" in capsys.readouterr().out
