"""Prove the committed split on the actual images: `python -m data.audit --data DIR [--stored-aspect 4:3]`.

Writes `data/splits/audit.json` for the dashboard and `data/splits/same_lesion.csv`, the pairs of lesion ids that the
images show to be one lesion. Exit code 1 if anything leaks: a lesion in more than one split, or two images of different
splits that are exact or near duplicates (see data.duplicates). Takes about 80 s on one core.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from data.duplicates import (
    AGREEING_LIMIT,
    HASH_CANDIDATE,
    HASH_LIMIT,
    MIN_SHARED,
    SAME_LESION_TABLE,
    Described,
    describe,
    join_lesions,
    search,
)
from dermlens.dataset.ham10000 import SPLIT_TABLE, SPLITS, data_root, image_path, load_table
from dermlens.dataset.split_audit import AUDIT, fingerprint
from dermlens.errors import DataError, DermlensError
from dermlens.evaluation.predictions import CASE_COLUMNS
from dermlens.evaluation.slices import UNKNOWN, group_names
from dermlens.files.documents import write_object, write_whole
from dermlens.files.tables import encode_csv, read_csv
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.ingest.read import read_file

SAME_LESION_COLUMNS = ["lesion_a", "lesion_b", "image_a", "image_b", "hash_distance", "agreeing_features"]
HASH_STEPS = (0, 8, 16, 24, 32, 40)
AGREEING_STEPS = (15, 20, 25, 30, 40, 60)
NAIVE_DRAWS = 20


def read_table(root: Path, split_table: Path = SPLIT_TABLE) -> pd.DataFrame:
    """Return the metadata of the data set with the split of every image, sorted by image_id.

    Lesions are taken from the metadata and not from the split table, so that a table that renames a lesion cannot hide
    a leak. Raises DataError if the two do not cover the same images, or for what `load_table` finds.
    """
    table = load_table(root, decode=True)
    if not split_table.is_file():
        raise DataError(f"No split table at {split_table}. Make it with python -m data.split.")
    split = read_csv(split_table, {"image_id": str, "split": str}).set_index("image_id")["split"]
    differing = sorted(set(table["image_id"]) ^ set(split.index))
    if differing or not split.index.is_unique or not split.isin(SPLITS).all():
        raise DataError(
            f"{split_table} does not fit {root}: {len(differing)} images in only one of them {differing[:5]}, "
            f"{split.index.duplicated().sum()} listed twice, {(~split.isin(SPLITS)).sum()} in an unknown split."
        )
    return table.assign(split=table["image_id"].map(split))


def read_images(root: Path, image_ids: list[str], stored_aspect: str) -> list[Described]:
    """Describe the images in the order of `image_ids`; raises ImageError if one cannot be decoded."""
    paths = (image_path(root, i) for i in tqdm(image_ids, desc="describing", unit=" images", disable=None))
    return [describe(read_file(path, stored_aspect=stored_aspect).pixels) for path in paths]


def leaks(table: pd.DataFrame, lesion: pd.Series, split: pd.Series) -> dict[str, Any]:
    """Return what leaks if `table` is split like this.

    Args:
        table: has column dx.
        lesion: lesion of each row.
        split: split of each row.
    """
    spread = split.groupby(lesion).nunique()
    test = split == "test"
    melanoma = table["dx"] == "mel"
    seen = lesion.isin(set(lesion[split == "train"]))
    return {
        "lesions_in_more_than_one_split": int((spread > 1).sum()),
        "test_images_with_lesion_in_train": _part(seen[test]),
        "test_melanomas_with_lesion_in_train": _part(seen[test & melanoma]),
    }


def naive_split(table: pd.DataFrame, seed: int) -> pd.Series:
    """Deal the images of each diagnosis at random, lesions regardless, as many to each split as `table` has there."""
    rng = np.random.default_rng(seed)
    split = table["split"].copy()
    for _, rows in table.groupby("dx"):
        split[rows.index] = rng.permutation(rows["split"].to_numpy())
    return split


def shares(split: pd.Series, group: pd.Series, lesion: pd.Series) -> dict[str, dict[str, dict[str, float]]]:
    """Return images, lesions and share of the split's images for every value of `group` in every split."""
    answer: dict[str, dict[str, dict[str, float]]] = {}
    for value in sorted(group.unique()):
        answer[value] = {}
        for name in SPLITS:
            rows = (split == name) & (group == value)
            share = rows.sum() / max(1, (split == name).sum())
            answer[value][name] = {
                "images": int(rows.sum()),
                "lesions": int(lesion[rows].nunique()),
                "share": round(float(share), 6),
            }
    return answer


def audit(table: pd.DataFrame, pairs: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the content of audit.json and the pairs of lesion ids that are one lesion.

    Args:
        table: of `read_table`.
        pairs: of `data.duplicates.search`, positions counting the rows of `table`.
    """
    table = table.reset_index(drop=True)
    lesion = table["lesion_id"]
    split = table["split"]
    cases = table.replace({column: {"": UNKNOWN} for column in CASE_COLUMNS[1:]})
    pairs = pairs.assign(
        between=lesion.to_numpy()[pairs["i"]] != lesion.to_numpy()[pairs["j"]],
        across=split.to_numpy()[pairs["i"]] != split.to_numpy()[pairs["j"]],
    )
    same = _same_lesion(table, pairs[pairs["duplicate"] & pairs["between"]])
    joined = join_lesions(lesion, same)
    within = lesion.value_counts()
    near = pairs[pairs["duplicate"]]
    naive = [leaks(table, lesion, naive_split(table, seed)) for seed in range(NAIVE_DRAWS)]
    first_naive = naive_split(table, 0).to_numpy()
    content = {
        "images": len(table),
        "lesions": int(lesion.nunique()),
        "table_sha256": fingerprint(table),
        "splits": {
            name: {"images": int((split == name).sum()), "lesions": int(lesion[split == name].nunique())}
            for name in SPLITS
        },
        "leaks": leaks(table, lesion, split),
        "leaks_after_joining": leaks(table, joined, split),
        "exact_duplicates": _counts(pairs[pairs["exact"]]),
        "near_duplicates": {
            **_counts(near),
            "hash_limit": HASH_LIMIT,
            "agreeing_limit": AGREEING_LIMIT,
            "candidates": {"hash_distance": HASH_CANDIDATE, "shared_keys": MIN_SHARED, **_counts(pairs)},
            "by_hash_distance": [{"at_most": d, **_counts(pairs[pairs["distance"] <= d])} for d in HASH_STEPS],
            "by_agreeing_features": [{"at_least": a, **_counts(pairs[pairs["agreeing"] >= a])} for a in AGREEING_STEPS],
            # Against "within_lesions" this tells how much of what belongs together the search finds.
            "pairs_within_lesions": int((within * (within - 1) // 2).sum()),
            "lesions_joined": int(lesion.nunique() - joined.nunique()),
            "pairs_between_lesions": same.to_dict("records"),
        },
        "classes": shares(split, table["dx"], lesion),
        "subgroups": {by: shares(split, pd.Series(group_names(cases, by)), lesion) for by in CASE_COLUMNS},
        "naive_split": {
            "draws": NAIVE_DRAWS,
            "lesions_in_more_than_one_split": _range([n["lesions_in_more_than_one_split"] for n in naive]),
            **{
                key: _range([n[key]["share"] for n in naive])
                for key in ("test_images_with_lesion_in_train", "test_melanomas_with_lesion_in_train")
            },
            "near_duplicates_across_splits_first_draw": int((first_naive[near["i"]] != first_naive[near["j"]]).sum()),
        },
    }
    return content, same


def leaking(content: dict[str, Any]) -> list[str]:
    """Return a sentence for everything in an audit that must not be."""
    found = {
        "lesions in more than one split": content["leaks"]["lesions_in_more_than_one_split"],
        "exact duplicates across splits": content["exact_duplicates"]["across_splits"],
        "near duplicates across splits": content["near_duplicates"]["across_splits"],
    }
    return [f"{number} {what}" for what, number in found.items() if number]


def main(argv: list[str] | None = None) -> int:
    """Run the audit; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data.audit", description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, default="as-is")
    parser.add_argument("--split-table", type=Path, default=SPLIT_TABLE)
    parser.add_argument("--output", type=Path, help="default: audit.json beside the split table")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("pass --data DIR or set HAM10000_DIR")
    output = args.output or args.split_table.with_name(AUDIT.name)
    try:
        table = read_table(args.data, args.split_table)
        images = read_images(args.data, table["image_id"].tolist(), args.stored_aspect)
        content, same = audit(table, search(images))
        pairs = encode_csv(same[SAME_LESION_COLUMNS])
        write_whole(output.with_name(SAME_LESION_TABLE.name), pairs)
        write_object(output, content)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    found = leaking(content)
    print(f"{len(table)} images, {table['lesion_id'].nunique()} lesions: {'; '.join(found) or 'nothing leaks'}.")
    print(f"{len(same)} pairs of images show one lesion under two ids. Written: {output}")
    return 1 if found else 0


def _same_lesion(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs with names instead of positions, those with most agreeing features first."""
    columns = {}
    for column in ("image_id", "lesion_id", "dx", "split"):
        for side, position in (("a", pairs["i"]), ("b", pairs["j"])):
            columns[f"{column.removesuffix('_id')}_{side}"] = table[column].to_numpy()[position]
    named = pd.DataFrame(columns).assign(
        hash_distance=pairs["distance"].to_numpy(), agreeing_features=pairs["agreeing"].to_numpy()
    )
    return named.sort_values(["agreeing_features", "image_a", "image_b"], ascending=[False, True, True]).reset_index(
        drop=True
    )


def _counts(pairs: pd.DataFrame) -> dict[str, int]:
    return {
        "within_lesions": int((~pairs["between"]).sum()),
        "between_lesions": int(pairs["between"].sum()),
        "across_splits": int(pairs["across"].sum()),
    }


def _part(flags: pd.Series) -> dict[str, float]:
    return {"images": int(flags.sum()), "of": len(flags), "share": round(float(flags.mean()), 6) if len(flags) else 0.0}


def _range(values: list[float]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 6), "low": min(values), "high": max(values)}


if __name__ == "__main__":
    sys.exit(main())
