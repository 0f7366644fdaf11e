"""Measure the picture quality of the validation images: `python -m data.quality --data DIR [--stored-aspect 4:3]`.

Writes data/splits/quality.csv, against which a cohort's pictures are compared.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dermlens.cohort.drift import MEASURES, QUALITY
from dermlens.dataset.ham10000 import data_root, image_path, load_split
from dermlens.errors import DataError, DermlensError
from dermlens.files.documents import write_whole
from dermlens.files.tables import encode_csv
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.image.quality import check
from dermlens.ingest.read import read_file


def measure(root: Path, image_ids: list[str], stored_aspect: str) -> pd.DataFrame:
    """Return image_id and MEASURES of images; raises DermlensError if one is missing or cannot be read."""
    rows = []
    for image_id in tqdm(image_ids, unit="image", disable=not sys.stderr.isatty()):
        found = check(read_file(image_path(root, image_id), stored_aspect=stored_aspect).pixels)
        rows.append((image_id, *(float(f"{getattr(found, name):.5g}") for name in MEASURES)))
    return pd.DataFrame(rows, columns=["image_id", *MEASURES])


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m data.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, default="as-is")
    parser.add_argument("--to", type=Path, default=QUALITY, help="default: %(default)s")
    given = parser.parse_args(argv)
    try:
        if given.data is None:
            raise DataError("Pass --data DIR or set HAM10000_DIR.")
        table = load_split()
        ids = sorted(table.loc[table["split"] == "validation", "image_id"])
        found = measure(given.data, ids, given.stored_aspect)
        write_whole(given.to, encode_csv(found))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"{len(found):,} images in {given.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
