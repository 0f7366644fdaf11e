"""One image of the ISIC Archive by its id: from a fixed host, only when asked for, with limits on size and time."""

import re

import requests

from dermlens.errors import DownloadError, ImageError
from dermlens.ingest.formats import LIMITS

HOST = "https://api.isic-archive.com"
FILES = ("https://content.isic-archive.com/", "https://isic-archive.s3.amazonaws.com/")
"""Where the archive keeps its files; an address elsewhere is not followed."""
ID = re.compile(r"ISIC_\d{7}")
TIMEOUT = (5, 20)
_CHUNK = 1 << 16


def page_of(image_id: str, host: str = HOST) -> str:
    """Return the address of the archive's public page of an image; raises ImageError if the id is not of its form."""
    _check(image_id)
    return f"{host}/images/{image_id}/"


def fetch(image_id: str, host: str = HOST, files: tuple[str, ...] = FILES) -> bytes:
    """Fetch the full image of an id such as ISIC_0024306. What comes back is untrusted, like any upload.

    Raises:
        ImageError: the id is not of that form.
        DownloadError: the archive cannot be reached, has no such image, or answers with something else.
    """
    _check(image_id)
    try:
        with requests.get(f"{host}/api/v2/images/{image_id}/", timeout=TIMEOUT, allow_redirects=False) as answer:
            if answer.status_code == 404:
                raise DownloadError(f"The ISIC Archive has no public image {image_id}.")
            answer.raise_for_status()
            address = answer.json()["files"]["full"]["url"]
        if not str(address).startswith(files):
            raise DownloadError("The ISIC Archive named an address outside its own file stores; it was not followed.")
        return _download(str(address), image_id)
    except (requests.ConnectionError, requests.Timeout) as e:
        raise DownloadError(
            "The ISIC Archive cannot be reached. This server may have no network; upload the image as a file instead."
        ) from e
    except (requests.RequestException, KeyError, TypeError, ValueError) as e:
        raise DownloadError(
            f"The ISIC Archive did not answer as expected ({type(e).__name__}). Try again later."
        ) from e


def _check(image_id: str) -> None:
    if not ID.fullmatch(image_id):
        raise ImageError(f"An ISIC id is ISIC_ and seven digits, such as ISIC_0024306; got {image_id[:40]!r}.")


def _download(address: str, image_id: str) -> bytes:
    data = bytearray()
    with requests.get(address, timeout=TIMEOUT, allow_redirects=False, stream=True) as answer:
        answer.raise_for_status()
        if answer.is_redirect:
            raise DownloadError("The ISIC Archive pointed elsewhere for the file; it was not followed.")
        for chunk in answer.iter_content(_CHUNK):
            data += chunk
            if len(data) > LIMITS.bytes:
                raise DownloadError(f"{image_id} is over {LIMITS.bytes >> 20} MB; it was not read.")
    return bytes(data)
