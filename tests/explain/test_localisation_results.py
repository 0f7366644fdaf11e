from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.charts import localisation as charts
from dermlens.errors import DataError
from dermlens.explain.localisation_results import (
    COLUMNS,
    FILE,
    METHODS,
    REMOVALS,
    lesions,
    offered,
    read_attention,
    read_published,
    removal,
    summarise,
    where,
)
from dermlens.labels import CLASSES, SHOWN
from dermlens.models import registry


def rows(
    n: int = 140, methods: tuple[str, ...] = ("grad_cam",), measured: int = 70, seed: int = 0, split: str = "test"
) -> pd.DataFrame:
    """Return a made-up table: two images a lesion, every class alike, deletion for the first `measured` images."""
    rng = np.random.default_rng(seed)
    table = []
    for i in range(n):
        true = CLASSES[i // 2 % 7]
        for method in methods if i < measured else methods[:1]:
            areas = rng.random(4) if i < measured else np.full(4, np.nan)
            table.append(
                {
                    "image_id": f"{split[0].upper()}{i:03}",
                    "lesion_id": f"L{i // 2:03}",
                    "split": split,
                    "y_true": true,
                    "called": true if i % 4 else CLASSES[0],
                    "method": method,
                    "warning": ("", "border", "corner")[i % 20 if i % 20 < 3 else 0],
                    "energy_share": rng.uniform(0.4, 1),
                    "blob_share": rng.uniform(0.3, 0.7),
                    "lesion_share": rng.uniform(0.1, 0.5),
                    "usual_share": rng.uniform(0.3, 0.6) if method == "grad_cam" else np.nan,
                    "hit": float(rng.random() < 0.9),
                    "centre_hit": float(rng.random() < 0.7),
                    **dict(zip(REMOVALS, areas, strict=True)),
                }
            )
    return pd.DataFrame(table, columns=list(COLUMNS))


def write(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / FILE, index=False)
    return folder / FILE


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = rows()
    found = read_attention(write(tmp_path, table))
    assert list(found.columns) == list(COLUMNS)
    assert found["y_true"].tolist() == [CLASSES.index(code) for code in table["y_true"]]
    np.testing.assert_allclose(found["energy_share"], table["energy_share"])
    assert found["deletion"].isna().sum() == 70


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("image_id", 5, "", "line 7, column image_id: '' is empty"),
        ("image_id", 5, "T004", "'T004' appears a second time with this method"),
        ("lesion_id", 0, " ", "line 2, column lesion_id"),
        ("y_true", 3, "MEL", "line 5, column y_true: 'MEL' must be one of akiec"),
        ("called", 3, "9", "line 5, column called"),
        ("method", 1, "lime", "'lime' must be one of grad_cam, grad_cam_plus_plus"),
        ("warning", 1, "ruler", "column warning: 'ruler' must be empty, border or corner"),
        ("energy_share", 2, "1.2", "line 4, column energy_share: '1.2' must be a number from 0 to 1"),
        ("energy_share", 2, "nan", "column energy_share: 'nan' must be a number"),
        ("lesion_share", 2, "", "column lesion_share: '' is empty"),
        ("hit", 2, "0.5", "column hit: '0.5' must be 0 or 1"),
        ("hit", 2, "", "hit: '' and energy_share go together"),
        ("blob_share", 2, "", "blob_share: '' and energy_share go together"),
        ("split", 2, "train", "line 4, column split: 'train' must be one of validation, test"),
        ("insertion", 2, "", "go together"),
        ("deletion", 100, "0.5", "line 102, column deletion"),
    ],
)
def test_what_cannot_be_is_named_by_line_and_column(
    tmp_path: Path, column: str, row: int, value: str, said: str
) -> None:
    table = rows().astype(object)
    table.loc[row, column] = value
    with pytest.raises(DataError) as error:
        read_attention(write(tmp_path, table))
    assert said in str(error.value)


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column hit is missing"):
        read_attention(write(tmp_path, rows().drop(columns="hit")))
    with pytest.raises(DataError, match="no such file"):
        read_attention(tmp_path / "none.csv")


def test_estimates_by_hand(tmp_path: Path) -> None:
    table = rows(4, measured=4)
    table["energy_share"], table["lesion_share"] = [0.9, 0.7, 0.5, np.nan], [0.5, 0.3, 0.4, 0.2]
    table["usual_share"] = [0.6, 0.6, 0.3, 0.3]
    table["blob_share"] = [0.5, 0.5, 0.6, np.nan]
    table["hit"], table["centre_hit"] = [1, 0, 1, np.nan], [1, 1, 0, 0]
    table["deletion"], table["random_deletion"] = [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.3, 0.3]
    found = read_attention(write(tmp_path, table))
    w, r = where(found), removal(found)
    assert (w.energy.value, w.area.value, w.gain.value) == pytest.approx((0.7, 0.4, 0.3))
    assert (w.usual.value, w.usual_gain.value) == pytest.approx((0.5, 0.2))
    assert (w.blob.value, w.blob_gain.value) == pytest.approx((1.6 / 3, 0.5 / 3))
    assert (w.hits.value, w.centre.value) == pytest.approx((2 / 3, 2 / 3))
    assert w.without == 1
    assert (w.energy.n_images, w.energy.n_lesions) == (3, 2)
    assert (r.deletion.value, r.random_deletion.value, r.deletion_gain.value) == pytest.approx((0.25, 0.4, 0.15))
    assert (r.deletion.n_images, r.deletion.n_lesions) == (4, 2)
    assert 0 <= r.deletion.low < r.deletion.value < r.deletion.high <= 1
    assert lesions(found).tolist() == [0, 0, 1, 1]


def test_one_lesion_has_no_interval_and_none_no_estimate(tmp_path: Path) -> None:
    found = read_attention(write(tmp_path, rows(2, measured=2)))
    one = where(found)
    assert not np.isnan(one.energy.value)
    assert np.isnan([one.energy.low, one.energy.high, one.gain.low]).all()
    none = where(found[:0])
    assert np.isnan(none.energy.value)
    assert (none.energy.n_images, none.without) == (0, 0)


def test_groups_methods_and_warnings(tmp_path: Path) -> None:
    compared = rows(42, methods=("grad_cam", "smooth_grad"), measured=42, split="validation")
    table = read_attention(write(tmp_path, pd.concat([compared, rows(measured=42)])))
    found = summarise(table)
    own = table[(table["method"] == "grad_cam") & (table["split"] == "test")]
    right = own["y_true"] == own["called"]
    assert set(found.where) == {"all", "right", "wrong", *CLASSES}
    assert found.where["all"].energy.value == pytest.approx(own["energy_share"].mean())
    assert found.where["wrong"].energy.n_images == (~right).sum()
    assert found.where["mel"].area.n_images == 20
    assert found.removal["all"].deletion.n_images == 42
    assert set(found.methods) == {"grad_cam", "smooth_grad"}
    both = found.methods["smooth_grad"]
    assert both[0].energy.n_images == both[1].deletion.n_images == 42
    warned = own["warning"] != ""
    assert found.warned.share.value == pytest.approx(warned.mean())
    assert found.warned.right_if_warned.value == pytest.approx(right[warned].mean())
    assert found.warned.right_if_not.value == pytest.approx(right[~warned].mean())


def test_what_was_not_measured_is_not_summed_up(tmp_path: Path) -> None:
    found = summarise(read_attention(write(tmp_path, rows(methods=("grad_cam",), measured=0))))
    assert found.methods == {}
    assert found.removal == {}


def test_a_method_that_is_clearly_worse_than_a_blob_in_the_middle_is_not_offered(tmp_path: Path) -> None:
    table = rows(140, methods=tuple(METHODS), measured=140, split="validation")
    noise = np.random.default_rng(3).normal(0, 0.05, len(table))
    gains = {"grad_cam": 0.0, "grad_cam_plus_plus": -0.1, "score_cam": 0.1, "smooth_grad": -0.2}
    table["blob_share"] = 0.5
    table["energy_share"] = 0.5 + table["method"].map(gains) + noise
    assert offered(read_attention(write(tmp_path, table))) == ("grad_cam", "score_cam")
    assert offered(read_attention(write(tmp_path, table.assign(split="test")))) == tuple(METHODS), "not chosen on test"
    few = table[table["lesion_id"] == "L000"]
    assert offered(read_attention(write(tmp_path, few))) == tuple(METHODS), "one lesion proves nothing"


def test_intervals_cover_the_truth_for_few_lesions_and_for_many() -> None:
    rng = np.random.default_rng(1)
    for m, least in ((8, 0.9), (60, 0.9)):
        covered = 0
        for _ in range(100):
            effect = rng.normal(0, 0.1, m).repeat(2)
            values = np.clip(0.5 + effect + rng.normal(0, 0.05, 2 * m), 0, 1)
            table = pd.DataFrame(dict.fromkeys(REMOVALS, values))
            found = removal(table.assign(lesion_id=[f"L{i}" for i in range(m) for _ in range(2)])).deletion
            covered += found.low <= 0.5 <= found.high
        assert covered / 100 >= least, m


def test_a_file_that_the_card_does_not_know_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    with pytest.raises(DataError, match="There is no attention.csv in toy. .*--only attention"):
        read_published(folder, None)
    path = write(folder, rows())
    with pytest.raises(DataError, match="SHA-256"):
        read_published(folder, {"files": {FILE: "0" * 64}})
    found = read_published(folder, {"files": {FILE: registry.sha256(path)}})
    assert len(found) == 140


def test_charts_show_every_group_beside_what_needs_no_look(tmp_path: Path) -> None:
    found = summarise(read_attention(write(tmp_path, rows())))
    figure = charts.inside(found.where)
    assert len(figure.data) == 3
    assert len({trace.marker.symbol for trace in figure.data}) == 3, "not by colour alone"
    assert list(figure.layout.yaxis.ticktext) == list(charts.ROWS.values())
    assert list(figure.data[0].x) == pytest.approx([100 * found.where[g].energy.value for g in charts.ROWS])
    assert figure.data[2].x[1] == pytest.approx(100 * found.where[CLASSES[SHOWN[0]]].area.value)
    assert len(charts.pointing(found.where).data) == 2
    for draw in (charts.deletion, charts.insertion):
        assert len(draw(found.removal).data) == 2
    only = {"all": found.where["all"]}
    assert list(charts.inside(only).layout.yaxis.ticktext) == ["All images"]
