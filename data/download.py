"""Fetch HAM10000 or ISIC 2019 in their official layouts: `python -m data.download --to DIR [--source SOURCE]`.

HAM10000 ends in the same folders from either source: HAM10000_images_part_1/, HAM10000_images_part_2/,
HAM10000_metadata.csv and, from Dataverse, HAM10000_segmentations_lesion_tschandl/. Every file and folder appears only
when it is whole; what was begun is continued by the next run, and what is there is not fetched again (`download.json`
keeps the account).

`dataverse`: Harvard Dataverse, doi:10.7910/DVN/DBW86T, the publication itself (2.8 GB in zips, about 6 GB free while
unpacking). Sizes and checksums are the ones its listing publishes. A CSV that Dataverse has converted to .tab is
fetched in its original format, to which the published checksum belongs.

`isic`: the ISIC Archive (API v2, collection 212), the same images one by one. It differs from the publication:
- It publishes no checksum, and its files carry an attribution written into their headers, so they are not the bytes of
  Dataverse. Each file must have the length its server announces and must decode.
- Its metadata are its own: lesions are named IL_... and not HAM_..., diagnoses are a hierarchy (diagnosis_1 to
  diagnosis_5), dx_type is diagnosis_confirm_type in longer words, localization is the coarser anatom_site_general, age
  is age_approx. HAM10000_metadata.csv is therefore written from the project's split table, which holds the facts of the
  publication.
- It holds the images of the ISIC 2018 test set too; only the images of the split table are fetched.
- It has no lesion masks.

`isic2019`: the training set of the ISIC 2019 challenge (25,331 images, 9.1 GB zipped, about as much again free while
unpacking), of which HAM10000 is a part; its other archives are trained on and tested with. ISIC_2019_Training_Input/,
ISIC_2019_Training_GroundTruth.csv and ISIC_2019_Training_Metadata.csv, from the challenge's storage. It publishes no
checksum: each file must have the length its server announces, the zip must unpack whole, and every image of the ground
truth must be in it.

Tschandl, Rosendahl, Kittler: The HAM10000 dataset, Sci Data 5:180161, 2018. Codella et al., arXiv:1710.05006, 2017.
Combalia et al.: BCN20000, arXiv:1908.02288, 2019. Licence of all CC BY-NC 4.0.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from data.fetch import Remote, Sleep, fetch, get_json, unpack
from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import COLUMNS, IMAGE_FOLDERS, MASK_FOLDER, METADATA, SPLIT_TABLE, load_split
from dermlens.errors import DermlensError, DownloadError, ImageError
from dermlens.files.documents import read_object, write_object
from dermlens.ingest.read import read_file

DOI = "doi:10.7910/DVN/DBW86T"
COLLECTION = 212  # HAM10000
BASE_URLS = {
    "dataverse": "https://dataverse.harvard.edu",
    "isic": "https://api.isic-archive.com/api/v2",
    "isic2019": "https://isic-challenge-data.s3.amazonaws.com/2019",
}
PART_1_IMAGES = 5000  # the official part 1 holds the first 5,000 ids
ACCOUNT = "download.json"


def download_dataverse(to: Path, base_url: str = BASE_URLS["dataverse"], sleep: Sleep = time.sleep) -> None:
    """Fetch the official files into `to`; raises DownloadError."""
    to.mkdir(parents=True, exist_ok=True)
    missing = [name for name in (*IMAGE_FOLDERS, MASK_FOLDER, METADATA) if not _complete(to, name)]
    if not missing:
        return
    with _session() as session:
        listing = get_json(session, f"{base_url}/api/datasets/:persistentId/", {"persistentId": DOI}, sleep)
        files = _listed(listing, base_url)
        for name in missing:
            remote = files.get(Path(name).stem)
            if remote is None:
                raise DownloadError(f"{DOI} lists no {Path(name).stem}; it lists {', '.join(sorted(files))}.")
            archive = to / f"{name}.zip"
            if name == METADATA:
                fetch(session, remote, _staging(to, name), sleep)
                _check_columns(_staging(to, name))
            else:
                fetch(session, remote, archive, sleep)
                unpack(archive, _staging(to, name))
            _finish(to, name, "dataverse", remote)
            archive.unlink(missing_ok=True)


def download_isic(
    to: Path, base_url: str = BASE_URLS["isic"], sleep: Sleep = time.sleep, table: Path = SPLIT_TABLE
) -> None:
    """Fetch the images of `table` from the ISIC Archive into `to`; raises DownloadError."""
    to.mkdir(parents=True, exist_ok=True)
    facts = load_split(table)[list(COLUMNS)].sort_values("image_id")
    wanted = {
        image_id: IMAGE_FOLDERS[rank >= PART_1_IMAGES] for rank, image_id in enumerate(facts["image_id"].tolist())
    }
    folders = [name for name in IMAGE_FOLDERS if not _complete(to, name)]
    if folders:
        for name in folders:
            _staging(to, name).mkdir(exist_ok=True)
        wanted = {i: name for i, name in wanted.items() if name in folders}
        _fetch_images(to, wanted, base_url, sleep)
        for name in folders:
            _finish(to, name, "isic")
    if not _complete(to, METADATA):
        facts.to_csv(_staging(to, METADATA), index=False, lineterminator="\n")
        _finish(to, METADATA, "isic")


def download_isic2019(to: Path, base_url: str = BASE_URLS["isic2019"], sleep: Sleep = time.sleep) -> None:
    """Fetch the training set of ISIC 2019 into `to`; raises DownloadError, or DataError if its tables do not match."""
    to.mkdir(parents=True, exist_ok=True)
    with _session() as session:
        for name in (isic2019.GROUND_TRUTH, isic2019.METADATA, isic2019.IMAGE_FOLDER):
            if _complete(to, name):
                continue
            if name != isic2019.IMAGE_FOLDER:
                remote = Remote(f"{base_url}/{name}")
                fetch(session, remote, _staging(to, name), sleep)
            else:
                remote, archive = Remote(f"{base_url}/{name}.zip"), to / f"{name}.zip"
                fetch(session, remote, archive, sleep)
                unpack(archive, _staging(to, name))
                _check_images(_staging(to, name), isic2019.load_truth(to)["image_id"].tolist())
            _finish(to, name, "isic2019", remote)
            (to / f"{name}.zip").unlink(missing_ok=True)


def _check_images(folder: Path, image_ids: list[str]) -> None:
    """Raise DownloadError unless every image of the ground truth was in the zip."""
    there = {file.stem.removesuffix(isic2019.REDUCED) for file in folder.iterdir()}
    missing = [image_id for image_id in image_ids if image_id not in there]
    if missing:
        raise DownloadError(f"{len(missing)} of {len(image_ids)} images are not in the zip: {', '.join(missing[:5])}.")


DOWNLOADS = {"dataverse": download_dataverse, "isic": download_isic, "isic2019": download_isic2019}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m data.download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, required=True, help="folder to fill")
    parser.add_argument("--source", choices=sorted(BASE_URLS), default="dataverse")
    parser.add_argument("--base-url", help="another address of the same API")
    args = parser.parse_args(argv)
    base_url = (args.base_url or BASE_URLS[args.source]).rstrip("/")
    try:
        DOWNLOADS[args.source](args.to, base_url)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    except OSError as e:
        print(
            f"{args.to} cannot be written: {e}. Free some space or pass another --to, then run again.", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to continue.", file=sys.stderr)
        return 130
    print(f"{'ISIC 2019' if args.source == 'isic2019' else 'HAM10000'} is complete in {args.to}.")
    return 0


def _listed(listing: dict[str, Any], base_url: str) -> dict[str, Remote]:
    """Return the files of a Dataverse listing by name without suffix."""
    files = {}
    try:
        for entry in listing["data"]["latestVersion"]["files"]:
            file = entry["dataFile"]
            converted = "originalFileFormat" in file or "originalFileName" in file
            checksum = file.get("checksum") or {"type": "MD5", "value": file["md5"]}
            url = f"{base_url}/api/access/datafile/{file['id']}"
            files[Path(file["filename"]).stem] = Remote(
                url=f"{url}?format=original" if converted else url,
                size=file.get("originalFileSize") if converted else file["filesize"],
                algorithm=checksum["type"].replace("-", "").lower(),
                digest=checksum["value"],
            )
    except (KeyError, TypeError, AttributeError) as e:
        raise DownloadError(f"The listing of {DOI} at {base_url} is not in the known form ({e!r}).") from e
    return files


def _fetch_images(to: Path, wanted: dict[str, str], base_url: str, sleep: Sleep) -> None:
    """Fetch each image of `wanted` (id: folder) into that folder's staging folder, unless it is there."""
    paths = {i: _staging(to, name) / f"{i}.jpg" for i, name in wanted.items()}
    left = {i: path for i, path in paths.items() if not path.exists()}
    bar = tqdm(total=len(paths), initial=len(paths) - len(left), desc="ISIC Archive", unit=" images", disable=None)
    with _session() as session, bar:
        # Addresses are signed for a limited time, so each page is fetched as soon as it is listed.
        for page in _pages(session, base_url, sleep) if left else ():
            for image_id, url in page:
                path = left.pop(image_id, None)
                if path is None:
                    continue
                fetch(session, Remote(url), path, sleep, show=False)
                try:
                    read_file(path)
                except ImageError as e:
                    path.unlink()
                    raise DownloadError(f"{image_id}: {url} is not a readable image: {e}") from e
                bar.update()
            if not left:
                break
    if left:
        first = ", ".join(sorted(left)[:5])
        raise DownloadError(f"{len(left)} of {len(wanted)} images are not in collection {COLLECTION}: {first}.")


def _pages(session: requests.Session, base_url: str, sleep: Sleep) -> Iterator[list[tuple[str, str]]]:
    """Yield the ids and addresses of the collection's images, a page at a time."""
    page = get_json(session, f"{base_url}/images/search/", {"collections": COLLECTION, "limit": 100}, sleep)
    while True:
        try:
            yield [(image["isic_id"], image["files"]["full"]["url"]) for image in page["results"]]
            url = page["next"]
        except (KeyError, TypeError) as e:
            raise DownloadError(f"The answer of {base_url} is not in the known form ({e!r}).") from e
        if not url:
            return
        page = get_json(session, url, sleep=sleep)


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = "dermlens data.download"
    return session


def _check_columns(file: Path) -> None:
    with file.open(encoding="utf-8", errors="replace") as f:
        found = [c.strip().strip('"') for c in f.readline().split(",")]
    missing = [c for c in COLUMNS if c not in found]
    if missing:
        file.unlink()
        raise DownloadError(f"The metadata lack the columns {', '.join(missing)}; received {', '.join(found)[:200]}.")


def _staging(to: Path, name: str) -> Path:
    return to / f".{name}.begun"


def _account(to: Path) -> dict[str, Any]:
    file = to / ACCOUNT
    return read_object(file, DownloadError) if file.exists() else {}


def _count(path: Path) -> int:
    return sum(1 for _ in path.iterdir()) if path.is_dir() else 1


def _complete(to: Path, name: str) -> bool:
    """Return whether `name` is there in full; raises DownloadError if something else is in its place."""
    path = to / name
    entry = _account(to).get(name)
    if not path.exists():
        return False
    if entry is None:
        raise DownloadError(f"{path} is there but was not made by this command. Pass another --to, or move it away.")
    if _count(path) != entry["files"]:
        raise DownloadError(f"{path} holds {_count(path)} of {entry['files']} files. Delete it and run again.")
    return True


def _finish(to: Path, name: str, source: str, remote: Remote | None = None) -> None:
    """Enter `name` in the account, then give the staged file or folder its name."""
    entry = {"source": source, "files": _count(_staging(to, name))}
    if remote is not None:
        entry |= {"url": remote.url, **({remote.algorithm: remote.digest} if remote.digest else {})}
    write_object(to / ACCOUNT, _account(to) | {name: entry})
    os.replace(_staging(to, name), to / name)


if __name__ == "__main__":
    sys.exit(main())
