"""The figures and the model card of a published model, made from its files: `python -m training.card [ID...]`.

Says where metrics.json, README.md or a hash is not what predictions.csv, run.json and history.csv give; --write makes
them anew. No figure of a model card is typed by hand.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermlens import registry
from dermlens.errors import DataError, DermlensError
from dermlens.intervals import FEW_LESIONS, OVERALL, PER_CLASS, summarise
from dermlens.labels import CLASSES, DIAGNOSES
from dermlens.predictions import Predictions, read_predictions
from dermlens.runs import flat, read_history

HASHED = ("model.keras", "predictions.csv", "metrics.json", "run.json", "history.csv")
TOLERANCE = 1e-5
"""Largest difference of a figure that another processor's rounding may make."""
SPLIT_TEXT = {
    "validation": "The epoch and the settings were chosen on this split, so these figures flatter the model.",
    "test": "Final: not for choosing between models.",
}
NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
    "cross_entropy": "Cross-entropy (nats)",
    "melanoma_recall": "Melanoma recall",
    "recall": "Recall",
    "precision": "Precision",
    "specificity": "Specificity",
    "f1": "F1",
    "auc": "AUC",
    "average_precision": "Average precision",
}


def figures(predictions: Predictions) -> dict[str, Any]:
    """Return metrics.json: every figure of every split with its interval."""
    return {split: summarise(predictions.of_split(split)).to_dict() for split in predictions.splits}


def problems(folder: Path) -> list[str]:
    """Compare what a published model says of itself with what its files give.

    Args:
        folder: models/ID. Files that a folder with predictions only has not are not asked for.

    Returns:
        One sentence a difference; empty if all is right.

    Raises:
        DermlensError: a file cannot be read.
    """
    found = []
    if (folder / "metrics.json").is_file():
        measured = figures(read_predictions(folder / "predictions.csv"))
        found += list(_differences(_read(folder / "metrics.json"), measured, "metrics.json"))
    card = _read(folder / "card.json") if (folder / "card.json").is_file() else {}
    for name, expected in card.get("files", {}).items():
        if not (folder / name).is_file():
            found.append(f"{name} is missing, card.json lists it")
        elif registry.sha256(folder / name) != expected:
            found.append(f"{name} is not the file whose hash is in card.json")
    if (folder / "run.json").is_file() and not found:
        readme = folder / "README.md"
        if not readme.is_file() or readme.read_text(encoding="utf-8") != render(folder):
            found.append("README.md is not what card.json, run.json, history.csv and metrics.json give")
    return found


def write(folder: Path) -> None:
    """Make metrics.json and its hash, hashes that card.json lacks, and README.md from the other files.

    Raises:
        DermlensError: a file is missing or cannot be read.
    """
    _write(folder / "metrics.json", figures(read_predictions(folder / "predictions.csv")))
    card = _read(folder / "card.json")
    known = {name: value for name, value in card["files"].items() if name != "metrics.json"}
    hashes = {name: registry.sha256(folder / name) for name in HASHED if name not in known}
    card["files"] = {name: {**known, **hashes}[name] for name in sorted({**known, **hashes})}
    _write(folder / "card.json", card)
    (folder / "README.md").write_text(render(folder), encoding="utf-8")


def note_hash(folder: Path, name: str) -> None:
    """Put the SHA-256 of a file of the folder into its card.json."""
    card = _read(folder / "card.json")
    hashes = {**card["files"], name: registry.sha256(folder / name)}
    card["files"] = {key: hashes[key] for key in sorted(hashes)}
    _write(folder / "card.json", card)


def render(folder: Path) -> str:
    """Return the model card as Markdown, from card.json, run.json, history.csv and metrics.json."""
    card, run = _read(folder / "card.json"), _read(folder / "run.json")
    metrics = _read(folder / "metrics.json")
    history = read_history(folder / "history.csv")
    best = history.loc[history["val_balanced_accuracy"].idxmax()]
    side, images = card["input"]["size"], run["data"]["images"]
    splits = [line for split in metrics for line in _split_section(split, metrics[split], run)]
    if "test" not in metrics:
        splits += ["### Test split", "", "Not measured: the test split has not been used with this model.", ""]
    lines = [
        f"# {card['name']}",
        "",
        f"Classifies a dermoscopic image of one skin lesion into the {len(CLASSES)} diagnoses of HAM10000. "
        "**A research model: not a medical device, not for diagnosing or treating anyone.**",
        "",
        "| | |",
        "| --- | --- |",
        f"| Architecture | {card['architecture']}, {card['parameters']:,} parameters |",
        f"| Input | RGB, {side} × {side} pixels at true aspect; how an image is fitted is in `card.json` |",
        f"| Views | {card['views']}: an answer is the mean of the logits over these flips and turns |",
        *_adjustment_line(card),
        f"| Output | logits of {', '.join(CLASSES)}; their softmax is not calibrated |",
        f"| Run | `{card['run']}`, published {card['created']} |",
        "",
        "## Intended use",
        "",
        "Research and teaching: to look at what a network sees in a dermoscopic image, and at how often it is right. "
        "It must not be used to decide on a patient, and its silence is not an all-clear.",
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
        "and Australia, and skin type is not recorded), children beyond the few in HAM10000, other cameras and "
        "dermatoscopes than those of HAM10000, photographs without a dermatoscope, and images of another clinic "
        "altogether.",
        "",
        "## Data",
        "",
        f"Trained on {images['train']:,} images of HAM10000, tuned on {images['validation']:,}; all images of a "
        "lesion are in one split (`data/splits/ham10000.csv`). Some lesions were confirmed by histology, the others "
        f"by follow-up, consensus or confocal microscopy.{_left_out(run)}",
        "",
        *_images_line(run),
        "P. Tschandl, C. Rosendahl, H. Kittler, *The HAM10000 dataset, a large collection of multi-source "
        "dermatoscopic images of common pigmented skin lesions*, Scientific Data 5:180161 (2018), "
        "doi:10.1038/sdata.2018.161; data doi:10.7910/DVN/DBW86T, licence CC BY-NC 4.0. The weights, predictions and "
        "figures in this folder follow that licence (`models/LICENSE.md`).",
        "",
        "## Figures",
        "",
        "Of the published file through the serving path, so they are what a user of the app gets. In brackets 95 % "
        "intervals over lesions: bootstrap, or Wilson's at the effective sample size for proportions of fewer than "
        f"{FEW_LESIONS} lesions (`dermlens.intervals`).",
        "",
        *splits,
        "## Recipe",
        "",
        f"Best epoch {best['epoch']:.0f} of {len(history)} by balanced accuracy on validation, "
        f"{run['measured_weights']} weights; {history['hours'].iloc[-1]:.1f} hours on {_hardware(run)}.",
        "",
        "| phase | epochs run | size | stages trained | learning rate | schedule |",
        "| --- | --- | --- | --- | --- | --- |",
        *[
            _phase_line(i, phase, int((history["phase"] == i).sum()))
            for i, phase in enumerate(run["config"]["phases"], start=1)
        ],
        "",
        "| setting | value |",
        "| --- | --- |",
        *[f"| {name} | {value} |" for name, value in flat(run["config"]).items() if not name.startswith("phases.")],
        "",
        *_missing_line(run),
        f"Code at commit `{run['git_commit']}`, Python {run['python']}, "
        + ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _split_section(split: str, measured: dict[str, Any], run: dict[str, Any]) -> list[str]:
    overall, per_class, confusion = measured["accuracy"], measured["per_class"], measured["confusion"]
    note = SPLIT_TEXT[split]
    if split == "test":
        times = [t["when"] for t in run.get("test_evaluations", [])]
        note += f" This split was predicted {len(times)} time{'s' * (len(times) != 1)} with this run"
        note += f" ({', '.join(times)})." if times else "."
    return [
        f"### {split.capitalize()} split",
        "",
        f"{overall['n_images']:,} images of {overall['n_lesions']:,} lesions. {note}",
        "",
        "| figure | value |",
        "| --- | --- |",
        *[f"| {NAMES[name]} | {_text(measured[name])} |" for name in OVERALL],
        "",
        "| class | images / lesions | " + " | ".join(NAMES[name] for name in PER_CLASS) + " |",
        "| --- " * (2 + len(PER_CLASS)) + "|",
        *[
            f"| {code} | {f['recall']['n_images']} / {f['recall']['n_lesions']} | "
            + " | ".join(_text(f[name]) for name in PER_CLASS)
            + " |"
            for code, f in per_class.items()
        ],
        "",
        "Images by true class (rows) and called class (columns):",
        "",
        "| true | " + " | ".join(CLASSES) + " |",
        "| --- " * (1 + len(CLASSES)) + "|",
        *[f"| {code} | " + " | ".join(map(str, row)) + " |" for code, row in zip(CLASSES, confusion, strict=True)],
        "",
    ]


def _text(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "not defined"
    interval = "no interval" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"
    return f"{figure['value']:.3f} ({interval})"


def _images_line(run: dict[str, Any]) -> list[str]:
    measured = run.get("published_from")
    if not measured:
        return []
    squeezed = "" if measured["stored_aspect"] == "as-is" else f", stored squeezed from {measured['stored_aspect']}"
    text = f"The images were {measured['width']} × {measured['height']} pixels at true aspect{squeezed}."
    return [text + " Sharper ones were not tested.", ""]


def _left_out(run: dict[str, Any]) -> str:
    code = run["config"]["leave_out"]
    return f" **No {code} was in its training or tuning images: it never learned to name it.**" if code else ""


def _adjustment_line(card: dict[str, Any]) -> list[str]:
    tau = card.get("logit_adjustment")
    text = f"| Logit adjustment | {tau}: rare diagnoses are favoured by this factor, chosen on validation "
    return [text + "(`training.adjustment`) |"] * bool(tau)


def _missing_line(run: dict[str, Any]) -> list[str]:
    missing = run.get("weights_missing") or []
    layers = sorted({name.partition("/")[0] for name in missing})
    return [f"Not filled by the backbone's archive, so trained from scratch: {', '.join(layers)}.", ""] * bool(layers)


def _phase_line(number: int, phase: dict[str, Any], run: int) -> str:
    stages = {"all": "all", 0: "head"}.get(phase["unfreeze"], f"last {phase['unfreeze']} and head")
    epochs = f"{run} of {phase['epochs']}"
    cells = (number, epochs, phase["size"], stages, f"{phase['learning_rate']:g}", phase["schedule"])
    return f"| {' | '.join(map(str, cells))} |"


def _hardware(run: dict[str, Any]) -> str:
    hardware = run["hardware"]
    accelerator = hardware.get("accelerator", "none")
    return accelerator if accelerator != "none" else f"{hardware['cores']} cores of {hardware['processor']}"


def _differences(stored: Any, measured: Any, where: str) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(measured, dict) and stored.keys() == measured.keys():
        for key in measured:
            yield from _differences(stored[key], measured[key], f"{where}, {key}")
    elif isinstance(stored, list) and isinstance(measured, list) and len(stored) == len(measured):
        for i, (a, b) in enumerate(zip(stored, measured, strict=True)):
            yield from _differences(a, b, f"{where}, {i}")
    elif isinstance(stored, (int, float)) and isinstance(measured, (int, float)):
        if not abs(stored - measured) <= TOLERANCE:
            yield f"{where} is {stored}, predictions.csv gives {measured}"
    elif stored != measured:
        yield f"{where} is {_short(stored)}, predictions.csv gives {_short(measured)}"


def _short(value: Any) -> str:
    return f"an object with {', '.join(value)}" if isinstance(value, dict) else repr(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{file} cannot be read as JSON ({e}).") from e


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Check, or make anew, the cards of some or all published models; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.partition("\n")[0])
    parser.add_argument("id", nargs="*", help="models by the name of their folder; all by default")
    parser.add_argument("--write", action="store_true", help="make metrics.json, hashes and README.md anew")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    given = parser.parse_args(argv)
    status = 0
    try:
        ids = given.id or [e.id for e in registry.discover(given.models_dir)]
        for folder in [registry.find(given.models_dir, model_id).folder for model_id in ids]:
            if given.write:
                write(folder)
            wrong = problems(folder)
            print(f"{folder.name}: {'; '.join(wrong) or 'every figure is what its files give'}")
            status = max(status, int(bool(wrong)))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
