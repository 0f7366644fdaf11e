"""The model card of a published model as Markdown, made from its files; no number of it is typed by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dermlens.dataset.ham10000 import load_split, moved
from dermlens.estimate import Estimate
from dermlens.evaluation.class_mix import AT, HAM10000, WITHOUT
from dermlens.evaluation.intervals import FEW_LESIONS, RARE_LESIONS
from dermlens.evaluation.metrics import CALIBRATION, OVERALL, PER_CLASS, UNLESS_SAID
from dermlens.evaluation.predictions import CHOSEN_ON, SPLITS, read_predictions
from dermlens.explain import localisation_results
from dermlens.files.documents import read_object
from dermlens.labels import CLASSES, DIAGNOSES, SUSPECT
from dermlens.trust import referral as rules
from dermlens.wording import counted, number_with_interval, percent, percent_with_interval, points_with_interval
from training.config import archives
from training.model_card.decisions import operating_points, prediction_sets, referral
from training.model_card.elsewhere import other_archives, other_lights
from training.model_card.network import data_of_members, eight_bits, network
from training.model_card.ood import ood
from training.model_card.recipe import recipe, training_data

METHODS = {
    "temperature": "temperature scaling",
    "bias": "temperature scaling with a bias for every class",
    "vector": "vector scaling",
}
SPLIT_TEXT = {
    "validation": CHOSEN_ON,
    "test": "Final: not for choosing between models.",
}
USE = (
    "## Intended use",
    "",
    "Research and teaching: to look at what a network sees in a dermoscopic image, and at how often it is right. "
    "It must not be used to decide on a patient's care, and neither a benign answer nor the absence of a warning is an "
    "all-clear.",
    "",
    "## What it can name",
    "",
    *[f"- `{d.code}`: {d.name} ({d.group})" for d in DIAGNOSES],
    "",
    "It always answers with one of these. **It cannot name squamous cell carcinoma, Spitz nevus or any other "
    "diagnosis**; such a lesion gets one of the seven names all the same.",
    "",
    "## What it was not tested on",
    "",
    "Nails, mucous membranes, palms and soles beyond the few in HAM10000, dark skin (its images come from Austria "
    "and Australia, and skin type is not recorded), children beyond the few in HAM10000, photographs taken without a "
    "dermatoscope, and cameras, dermatoscopes and clinics other than those of HAM10000, unless a section below says "
    "what was measured there.",
    "",
)
"""What the model is for, what it can name and what it was not tested on: the same for every model."""
CITATION = (
    "P. Tschandl, C. Rosendahl, H. Kittler, *The HAM10000 dataset, a large collection of multi-source "
    "dermatoscopic images of common pigmented skin lesions*, Scientific Data 5:180161 (2018), "
    "doi:10.1038/sdata.2018.161; data doi:10.7910/DVN/DBW86T, licence CC BY-NC 4.0."
)
CITATIONS = {
    "ISIC 2017": "N. Codella et al., *Skin lesion analysis toward melanoma detection: a challenge at the 2017 "
    "International Symposium on Biomedical Imaging*, arXiv:1710.05006 (2017), as in ISIC 2019, licence CC BY-NC 4.0.",
    "BCN20000": "M. Combalia et al., *BCN20000: dermoscopic lesions in the wild*, arXiv:1908.02288 (2019), as in ISIC "
    "2019, licence CC BY-NC 4.0.",
}
"""Name of another archive -> what is to be cited where a network was trained on it."""
LICENCE = "The weights, predictions and metrics in this folder follow that licence (`models/LICENSE.md`)."


def render(folder: Path, models: Path | None = None) -> str:
    """Return the model card of models/ID as Markdown, from its JSON files and history.csv.

    Args:
        folder: models/ID. models: where an ensemble's members are; by default beside it.
    """
    card = read_object(folder / "card.json")
    run = None if "members" in card else read_object(folder / "run.json")
    calibrated = (folder / "calibration.json").is_file()
    lines = [
        f"# {card['name']}",
        "",
        f"Classifies a dermoscopic image of one skin lesion into the {len(CLASSES)} diagnoses of HAM10000. "
        "**A research model: not a medical device, not for diagnosing or treating anyone.**",
        "",
        *network(card, calibrated),
        "",
        *USE,
        "## Data",
        "",
        *(data_of_members(card) if run is None else training_data(run)),
        " ".join([CITATION, *(CITATIONS[name] for name in _archives(card, run, models or folder.parent)), LICENCE]),
        "",
        *_moved(folder),
        *_metrics(folder, run, calibrated, models or folder.parent),
        *[line for section in SECTIONS for line in section(folder)],
        *([] if run is None else recipe(folder, run)),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _archives(card: dict[str, Any], run: dict[str, Any] | None, models: Path) -> list[str]:
    """Return the names of the other archives behind a network, or behind an ensemble's members."""
    files = [models / member / "run.json" for member in card.get("members", {})]
    records = [read_object(file) for file in files if file.is_file()] if run is None else [run]
    return list(dict.fromkeys(name for record in records for name in archives(record)))


def _moved(folder: Path) -> list[str]:
    """Say how many images were measured as another split's than they are now."""
    p = read_predictions(folder / "predictions.csv")
    found = moved(p.image_id, p.split, load_split())
    if not found:
        return []
    return [
        f"**{counted(found, 'image')} measured below moved to training after this model was trained**: another "
        "photograph of the lesion stood in another split. Where that was training, the metrics flatter the model.",
        "",
    ]


def _metrics(folder: Path, run: dict[str, Any] | None, calibrated: bool, models: Path) -> list[str]:
    """Return the section on metrics.json, split by split; `run` is None for an ensemble."""
    metrics = read_object(folder / "metrics.json")
    note = _seen(run) if run else _seen_by_members(folder, models)
    file = folder / "referral.json"
    referred = {s: m.benign_referred for s, m in rules.read(file).measured.items()} if file.is_file() else {}
    splits = [
        line
        for split in SPLITS
        if split in metrics
        for line in _split_section(split, metrics[split], note, referred.get(split))
    ]
    if "test" not in metrics:
        splits += ["### Test split", "", "Not measured: the test split has not been used with this model.", ""]
    mixes = (
        "The call is the most probable diagnosis. HAM10000's mix is that of the images that calibration was fitted on; "
        "at an equal mix the probabilities are re-weighted for diagnoses of one frequency, and the call follows"
    )
    return [
        "## Metrics",
        "",
        "Measured on the published file through the serving path; an image that the app would refuse counts as if it "
        f"were answered. {f'{mixes}.' if calibrated else WITHOUT} In brackets, 95 % intervals over lesions: bootstrap, "
        f"or Wilson's at the effective sample size for proportions of fewer than {FEW_LESIONS} lesions, or of fewer "
        f"than {RARE_LESIONS} that are counted or are not (`dermlens.evaluation.intervals`).",
        "",
        *splits,
    ]


def _seen(run: dict[str, Any]) -> str:
    """Say how often test was predicted with a run and those before it."""
    times = [t["when"] for t in run.get("test_evaluations", [])]
    said = f" This split was predicted {counted(len(times), 'time')} with this run"
    said += f" ({', '.join(times)})" if times else ""
    before = sum(len(earlier.get("test_evaluations") or []) for earlier in run.get("earlier_runs", []))
    return said + (f", and {counted(before, 'time')} with the networks that it continues from." if before else ".")


def _seen_by_members(folder: Path, models: Path) -> str:
    """Say how often test was predicted with an ensemble's members and the networks that they continue from.

    A run that several members have behind them counts once. The ensemble itself predicts nothing: it is computed from
    its members' predictions.
    """
    seen: dict[str, int] = {}
    unknown = []
    for member in read_object(folder / "card.json")["members"]:
        if not (models / member / "run.json").is_file():
            unknown.append(f"`{member}`")
            continue
        run = read_object(models / member / "run.json")
        for one in (*run.get("earlier_runs", []), run):
            seen[one["id"]] = max(seen.get(one["id"], 0), len(one.get("test_evaluations") or []))
    missing = f" Of {', '.join(unknown)} it is not recorded." if unknown else ""
    return (
        f" This split was predicted {counted(sum(seen.values()), 'time')} with the "
        f"{counted(len(seen), 'training run')} behind its members; the ensemble is computed from those "
        f"predictions.{missing}"
    )


def _referred(share: Estimate | None) -> list[str]:
    return [f"| benign images that the rules refer | as fitted | {number_with_interval(share)} |"] if share else []


def _split_section(split: str, measured: dict[str, Any], seen: str, referred: Estimate | None) -> list[str]:
    """Return the section of one split.

    Args:
        split: its name. measured: of metrics.json. seen: how often test was predicted.
        referred: share of its benign images that the rules refer, if known.
    """
    overall = measured["accuracy"]
    note = SPLIT_TEXT[split] + (seen if split == "test" else "")
    return [
        f"### {split.capitalize()} split",
        "",
        f"{overall['n_images']:,} images of {overall['n_lesions']:,} lesions. {note}",
        "",
        "| metric | measured | value |",
        "| --- | --- | --- |",
        *[f"| {metric.name} | {AT[metric.mix]} | {_text(measured[key])} |" for key, metric in OVERALL.items()],
        *_referred(referred),
        "",
        f"By class. {UNLESS_SAID}",
        "",
        "| class | images / lesions | " + " | ".join(metric.column for metric in PER_CLASS.values()) + " |",
        "| --- " * (2 + len(PER_CLASS)) + "|",
        *[
            f"| {code} | {f['recall']['n_images']} / {f['recall']['n_lesions']} | "
            + " | ".join(_text(f[key]) for key in PER_CLASS)
            + " |"
            for code, f in measured["per_class"].items()
        ],
        "",
        f"Images by true class (rows) and called class {AT[HAM10000]} (columns):",
        "",
        "| true | " + " | ".join(CLASSES) + " |",
        "| --- " * (1 + len(CLASSES)) + "|",
        *[
            f"| {code} | " + " | ".join(map(str, row)) + " |"
            for code, row in zip(CLASSES, measured["confusion"], strict=True)
        ],
        "",
    ]


def calibration(folder: Path) -> list[str]:
    """Return the section on calibration; empty if the model has none."""
    if not (folder / "calibration.json").is_file():
        return []
    fitted = read_object(folder / "calibration.json")
    losses = ", ".join(f"{METHODS[name]} {min(values):.3f}" for name, values in fitted["cross_fitted_nll"].items())
    of_priors = ", ".join(
        f"{sd:g}: {value:.4f}"
        for sd, value in zip(fitted["priors"], fitted["cross_fitted_nll"][fitted["method"]], strict=True)
    )
    mix = fitted["class_mix"]
    suspect = sum(mix[i] for i in SUSPECT) / sum(mix)
    lines = [
        "## Calibration",
        "",
        f"By {METHODS[fitted['method']]}, fitted on {fitted['fitted_on']['n_images']:,} validation images: the "
        "simplest of three methods that no richer one clearly beats in cross-fitted cross-entropy "
        f"({losses}). Its normal prior has a standard deviation of {fitted['prior_sd']:g}, the smallest whose "
        f"cross-entropy, cross-fitted by lesion, is within one standard error of the lowest ({of_priors}). The "
        f"probabilities hold where {percent(suspect, 1)} of the images are malignant or pre-malignant, "
        "which is HAM10000's mix: the numbers below are measured at it. Validation is measured cross-fitted by lesion. "
        "A perfect model would show the errors in the last column by chance.",
        "",
    ]
    for split, measured in fitted["measured"].items():
        lines += [
            f"| {split} | before | after | perfect model |",
            "| --- | --- | --- | --- |",
            *[
                f"| {metric.name} | {_text(measured['before'][key])} | {_text(measured['after'][key])} | "
                f"{_text(measured['by_chance'][key]) if key in measured['by_chance'] else ''} |"
                for key, metric in CALIBRATION.items()
            ],
            "",
        ]
    return lines


def _methods(found: localisation_results.LocalisationResults) -> list[str]:
    """Return which heat map methods are offered for the model, and what that was decided by."""
    if not found.methods:
        return []
    measured = next(iter(found.methods.values()))[0].energy
    return [
        "Every method is held against a blob in the middle of the picture, as concentrated as its own map, on "
        f"{measured.n_images} images of validation with their lesion masks; one with less of its heat in the lesion, "
        "with the whole 95 % interval of the difference below zero, is not offered.",
        "",
        "| method | heat inside | blob inside | difference in points | offered |",
        "| --- " * 5 + "|",
        *[
            f"| {localisation_results.METHODS[name]} | {percent_with_interval(where.energy)} | "
            f"{percent_with_interval(where.blob)} | {points_with_interval(where.blob_gain)} | "
            f"{'no' if where.worse else 'yes'} |"
            for name, (where, _) in found.methods.items()
        ],
        "",
    ]


def attention(folder: Path) -> list[str]:
    """Return the section on where the model looked; empty if that is not measured."""
    if not (folder / localisation_results.FILE).is_file():
        return []
    found = localisation_results.summarise(localisation_results.read_attention(folder / localisation_results.FILE))
    names = {"all": "all", **dict.fromkeys(CLASSES), "right": "called right", "wrong": "called wrong"}
    columns = ("energy", "area", "usual", "hits", "centre")
    head = ["## Where it looked", "", *_methods(found)]
    if "all" not in found.where:
        return [*head, "Not measured on test.", ""]
    everything = found.where["all"]
    lines = [
        *head,
        f"Grad-CAM of the called diagnosis on {everything.energy.n_images:,} test images and their lesion masks: the "
        "share of the heat inside the lesion, beside the lesion's share of the area and what the mean map of all "
        "images has inside; how often the hottest point is in the lesion, beside the centre of the picture. "
        f"{counted(everything.without, 'map')} {'was' if everything.without == 1 else 'were'} empty.",
        "",
        "| images | heat inside | area | mean map inside | hottest point inside | centre inside |",
        "| --- " * (1 + len(columns)) + "|",
        *[
            f"| {name or group} | "
            + " | ".join(number_with_interval(getattr(found.where[group], c)) for c in columns)
            + " |"
            for group, name in names.items()
            if group in found.where
        ],
        "",
    ]
    removal = found.removal.get("all")
    if removal:
        lines += [
            f"Deletion and insertion (RISE) on {removal.deletion.n_images} of these images, spread over the diagnoses: "
            f"area under the curve {number_with_interval(removal.deletion)} and "
            f"{number_with_interval(removal.insertion)}, in random order "
            f"{number_with_interval(removal.random_deletion)} and "
            f"{number_with_interval(removal.random_insertion)}.",
            "",
        ]
    return lines


def _text(stored: dict[str, Any]) -> str:
    return number_with_interval(Estimate.from_dict(stored))


SECTIONS: tuple[Callable[[Path], list[str]], ...] = (
    eight_bits,
    calibration,
    prediction_sets,
    operating_points,
    ood,
    attention,
    referral,
    other_lights,
    other_archives,
)
"""What was fitted, in the order of training.fit: each returns its lines, none if the model lacks the file."""
