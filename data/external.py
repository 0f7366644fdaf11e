"""Split the archives that are not HAM10000, by lesion: `python -m data.external`, with ISIC 2019's images.

ISIC 2017's validation and test images and 15 % of BCN20000's lesions are test sets, looked at once a published network.
Of what is left, 15 % of the lesions of either archive choose data, augmentation and refusal, and the others train. A
lesion with an image in a test set does not train, nor does one that `data.lookalikes` finds to be a lesion of a
validation or test set; one that it finds to train in HAM10000 is in no validation or test set here. The 158 images of
other sources serve for nothing: they are few, and it is not recorded whose they are.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from data.duplicates import join_lesions
from data.lookalikes import load_lookalikes, same_lesion
from data.split import deal
from dermlens.dataset.ham10000 import load_split
from dermlens.dataset.isic2019 import (
    BCN20000,
    COLUMNS,
    EXTERNAL_TABLE,
    ISIC_2017,
    TEST_SETS,
    data_root,
    load_external,
    load_truth,
)
from dermlens.errors import DataError, DermlensError
from dermlens.files.documents import write_whole
from dermlens.files.tables import encode_csv

ISIC_2017_TEST = ("ISIC 2017 val", "ISIC 2017 test")
SHARES = {  # of each archive; 15 % of what is not a test set is validation
    ISIC_2017: {"train": 0.85, "validation": 0.15},
    BCN20000: {"train": 0.85 * 0.85, "validation": 0.85 * 0.15, "bcn20000": 0.15},
}


def assign(table: pd.DataFrame, own: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Return the split of every row.

    Args:
        table: columns image_id, source, lesion_id and dx.
        own: the split table of HAM10000.
        pairs: of images that show one lesion, as `lookalikes.load_lookalikes` gives them.

    Returns:
        Series of "train", "validation", "isic2017", "bcn20000" or "left_out", indexed like `table`.
    """
    split = pd.Series("left_out", table.index)
    tested = table["source"].isin(ISIC_2017_TEST)
    split[tested] = "isic2017"
    for source, shares in SHARES.items():
        dealt = (table["source"] == source) & ~table["lesion_id"].isin(set(table["lesion_id"][tested]))
        split[dealt] = deal(table["lesion_id"][dealt], table["dx"][dealt], shares)
    known = pd.concat([own[["image_id", "lesion_id"]], table[["image_id", "lesion_id"]]], ignore_index=True)
    lesion = join_lesions(known["lesion_id"], same_lesion(known, pairs))
    theirs, ours = lesion.iloc[len(own) :].set_axis(table.index), lesion.iloc[: len(own)].set_axis(own.index)
    trained = set(ours[own["split"] == "train"])
    split[split.isin(["validation", *TEST_SETS]) & theirs.isin(trained)] = "left_out"
    held_out = set(theirs[split.isin(TEST_SETS)]) | set(ours[own["split"] != "train"])
    split[split.isin(["train", "validation"]) & theirs.isin(held_out)] = "left_out"
    split[(split == "train") & theirs.isin(set(theirs[split == "validation"]))] = "left_out"
    return split


def main(argv: list[str] | None = None) -> int:
    """Write the table anew; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data.external", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=data_root(), help="training set of ISIC 2019 (default: ISIC2019_DIR)"
    )
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("pass --data DIR or set ISIC2019_DIR")
    try:
        known = load_external()
        truth = load_truth(args.data).set_index("image_id")
        missing = known["image_id"][~known["image_id"].isin(truth.index)]
        if len(missing):
            raise DataError(
                f"{args.data} lacks {len(missing)} images of {EXTERNAL_TABLE.name}, {missing.iloc[0]} first."
            )
        facts = truth.loc[known["image_id"]].reset_index()
        table = known.assign(
            dx=facts["dx"], lesion_id=facts["lesion_id"].where(facts["lesion_id"] != "", facts["image_id"])
        )
        table["split"] = assign(table, load_split(), load_lookalikes())
        write_whole(EXTERNAL_TABLE, encode_csv(table[list(COLUMNS)]))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(pd.crosstab([table["source"], table["dx"]], table["split"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
