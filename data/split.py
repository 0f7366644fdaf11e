"""Split HAM10000 by lesion into 70 % train, 15 % validation and 15 % test: `python -m data.split --data DIR`.

Lesions of one diagnosis are dealt to the splits in an order drawn from a fixed seed, always to the split that is
furthest below its share of that diagnosis' images. So a lesion never spans two splits, every diagnosis has its
shares, and the same metadata gives the same table on every machine. Some lesions were published under two ids
(`same_lesion.csv`, found by data.audit, and `lookalikes.csv`, by data.lookalikes): where the two were dealt apart, all
their images go to training.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from data.duplicates import SAME_LESION_TABLE, join_lesions
from data.lookalikes import load_lookalikes, same_lesion
from dermlens.dataset.ham10000 import COLUMNS, SPLIT_TABLE, data_root, load_table
from dermlens.errors import DermlensError
from dermlens.files.documents import write_whole
from dermlens.files.tables import encode_csv, read_csv

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
SEED = 20180814
# One photograph published under two lesion ids: dealt as one lesion.
SAME_LESION = {"HAM_0004919": "HAM_0000140"}


def deal(group: pd.Series, dx: pd.Series, shares: Mapping[str, float], seed: int = SEED) -> pd.Series:
    """Deal images to splits so that every diagnosis has its shares and no lesion spans two splits.

    Args:
        group: lesion of every image; the order of rows does not matter.
        dx: diagnosis of every image, one a lesion.
        shares: split -> its share of the images of every diagnosis.
        seed: decides the order in which lesions are dealt.

    Returns:
        Series of the names of the splits, indexed like `group`.
    """
    split_of: dict[str, str] = {}
    for _, rows in group.groupby(dx):
        sizes = rows.value_counts().sort_index()
        order = np.random.default_rng(seed).permutation(len(sizes))
        dealt = dict.fromkeys(shares, 0)
        for lesion, size in sizes.iloc[order].items():
            # Relative fill, so that the small splits get their turn from the first lesions on.
            target = min(shares, key=lambda name: (dealt[name] + size) / shares[name])
            split_of[str(lesion)] = target
            dealt[target] += int(size)
    return group.map(split_of)


def assign(table: pd.DataFrame, seed: int = SEED) -> pd.Series:
    """Return the split of every row.

    Args:
        table: columns image_id, lesion_id and dx; the order of rows does not matter.
        seed: as for `deal`.

    Returns:
        Series of "train", "validation" or "test", indexed like `table`.
    """
    split = deal(table["lesion_id"].replace(SAME_LESION), table["dx"], SHARES, seed)
    same = pd.concat(
        [read_csv(SAME_LESION_TABLE, {"lesion_a": str, "lesion_b": str}), same_lesion(table, load_lookalikes())]
    )
    lesion = join_lesions(table["lesion_id"], same)
    split[split.groupby(lesion).transform("nunique") > 1] = "train"
    return split


def main(argv: list[str] | None = None) -> int:
    """Write the split table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data.split", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--output", type=Path, default=SPLIT_TABLE)
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("pass --data DIR or set HAM10000_DIR")
    try:
        table = load_table(args.data)
        table["split"] = assign(table)
        columns = ["image_id", "lesion_id", *[c for c in COLUMNS if c not in ("image_id", "lesion_id")], "split"]
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.output, encode_csv(table[columns]))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    counts = pd.crosstab(table["dx"], table["split"], margins=True, margins_name="all")
    print(counts.reindex(columns=[*SHARES, "all"], fill_value=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
