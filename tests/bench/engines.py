"""Engines side by side: `python -m tests.bench.engines [ID ...] --data DIR [--write]`, what docs/performance.md shows.

Engine x precision x views -> milliseconds, and accuracy and cross-entropy on validation images, each answer calibrated
by a map of its own, cross-fitted over lesions. Milliseconds are the least of many short runs, the engines taking turns,
so that a busy machine slows all alike. Needs `requirements-engines.txt`; what is not installed is left out and named.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dermlens.dataset.ham10000 import image_path, load_split
from dermlens.evaluation.predictions import Predictions
from dermlens.image.preprocess import STORED_ASPECTS, fit
from dermlens.image.tta import VIEWS, expand
from dermlens.ingest.read import read_file
from dermlens.models import registry
from dermlens.models.card import INT8, INT8_FILE
from dermlens.models.engine import Engine
from dermlens.models.model import Model
from dermlens.server.hardware import available_cores, processor, processor_flags
from tests.conftest import real_data
from training.dataset import class_indices
from training.finished import predictions_of
from training.precision import calibrated, calibration_rows
from training.quantise import quantise

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
START, END = "<!-- engines: made by python -m tests.bench.engines -->", "<!-- end of engines -->"
BLOCK = "<!-- measured on: {} -->"
_BLOCK = re.compile(f"^{BLOCK.format('(.*)')}$", re.MULTILINE)
Run = Callable[[np.ndarray], np.ndarray]
"""(N, S, S, 3) float32 in, (N, 7) logits out."""


def engines(model: Model, squares: Sequence[np.ndarray], scratch: Path) -> dict[tuple[str, str], Run]:
    """Return what can be compared, by engine and precision; LiteRT in float32 first.

    Args:
        model: loaded. squares: training images for the ranges of activations. scratch: an empty folder.
    """
    build = registry.build_dir(registry.inspect(model.folder))
    content = (build / registry.SERVING_FILE).read_bytes()
    found: dict[tuple[str, str], Run] = {("LiteRT", "float32"): _litert(content)}
    if model.precision == INT8:
        found["LiteRT", "int8, as published"] = _litert((model.folder / INT8_FILE).read_bytes())
    if _installed("ai_edge_quantizer"):
        found["LiteRT", "int8"] = _litert(quantise(content, squares))
        found["LiteRT", "dynamic range"] = _litert(_dynamic(content))
    if _installed("tf2onnx", "onnxruntime", "onnx"):
        plain = _onnx(build / "saved_model", scratch / "plain.onnx")
        small = _onnx_int8(plain, scratch / "int8.onnx", squares)
        for precision, file in (("float32", plain), ("int8", small)):
            found["ONNX Runtime", precision] = _onnx_runtime(file)
            if _installed("openvino"):
                found["OpenVINO", precision] = _openvino(file)
    return found


def _installed(*modules: str) -> bool:
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        print(f"Left out, as not installed: {', '.join(missing)}", file=sys.stderr)
    return not missing


def _litert(content: bytes) -> Run:
    engine = Engine(Path("serving.tflite"), content=content)
    return lambda batch: engine.run(batch).logits


def _dynamic(content: bytes) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    work = quantizer.Quantizer(bytearray(content))
    work.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    return bytes(work.quantize().quantized_model)


def _onnx(saved_model: Path, file: Path) -> Path:
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(saved_model), "--output", str(file)]
    subprocess.run(
        [*command, "--opset", "17"], check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    return file


def _onnx_int8(plain: Path, file: Path, squares: Sequence[np.ndarray]) -> Path:
    import onnxruntime
    from onnxruntime import quantization

    name = onnxruntime.InferenceSession(str(plain)).get_inputs()[0].name

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(squares)

        def get_next(self) -> dict | None:
            square = next(self.left, None)
            return None if square is None else {name: square[None].astype(np.float32)}

    prepared = file.with_name("prepared.onnx")
    quantization.shape_inference.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(str(prepared), str(file), Reader(), per_channel=True)
    return file


def _onnx_runtime(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(["logits"], {name: batch})[0]


def _openvino(file: Path) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(
        str(file), "CPU", {"INFERENCE_NUM_THREADS": available_cores(), "INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda batch: compiled([batch])["logits"]


def least_milliseconds(
    runs: dict[tuple[str, str], Run], batch: np.ndarray, repeats: int
) -> dict[tuple[str, str], float]:
    """Return the least milliseconds of each, taking turns after one unmeasured run."""
    least = dict.fromkeys(runs, float("inf"))
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(batch)
            if turn:
                least[name] = min(least[name], 1000 * (time.perf_counter() - start))
    return least


def table(model: Model, data: Path, stored_aspect: str, images: int | None, repeats: int) -> list[str]:
    """Return the rows of one model as Markdown."""
    split = load_split()
    rows = split[split["split"] == "validation"].sort_values("image_id", ignore_index=True)
    rows = rows.sample(images, random_state=0).reset_index(drop=True) if images else rows

    def square(name: str) -> np.ndarray:
        return fit(read_file(image_path(data, name), stored_aspect=stored_aspect).pixels, model.geometry)

    with tempfile.TemporaryDirectory() as scratch:
        runs = engines(model, [square(name) for name in calibration_rows(split)["image_id"]], Path(scratch))
    logits = {name: np.empty((len(rows), max(VIEWS), 7)) for name in runs}
    for i, image_id in enumerate(tqdm(rows["image_id"], desc=model.name, disable=not sys.stderr.isatty())):
        batch = expand(square(image_id), max(VIEWS)).astype(np.float32)
        for name, run in runs.items():
            logits[name][i] = run(batch)
    lines = []
    for views in VIEWS:
        least = least_milliseconds(runs, expand(square(rows["image_id"][0]), views).astype(np.float32), repeats)
        for (engine, precision), milliseconds in least.items():
            p = predictions_of(rows, class_indices(rows), logits[engine, precision][:, :views].mean(1))
            accuracy, loss = _measured(p)
            cells = (model.name, engine, precision, views, f"{milliseconds:.1f}", f"{accuracy:.4f}", f"{loss:.4f}")
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _measured(p: Predictions) -> tuple[float, float]:
    q = calibrated(p)
    return float((q.argmax(1) == p.y_true).mean()), float(-np.log(q[np.arange(len(p)), p.y_true]).mean())


def written(document: str, name: str, section: Sequence[str]) -> str:
    """Return a document whose text between START and END has one block a processor, that of this one replaced.

    Args:
        document: what was written before. name: of the processor. section: its lines.
    """
    before, _, rest = document.partition(START)
    inside, _, after = rest.partition(END)
    _, *found = _BLOCK.split(inside)
    blocks = dict(zip(found[::2], (text.strip("\n") for text in found[1::2]), strict=True))
    blocks[name] = "\n".join(section)
    return "".join(
        [before, START, *(f"\n\n{BLOCK.format(n)}\n\n{text}" for n, text in blocks.items()), "\n\n", END, after]
    )


def main(argv: list[str] | None = None) -> int:
    """Compare the engines on some models and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engines", description=__doc__.partition("\n")[0])
    parser.add_argument("id", nargs="*", default=["efficientnetv2b0", "resnet50"], help="models (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=real_data(), help="HAM10000 folder")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, default="as-is")
    parser.add_argument("--images", type=int, help="of validation, drawn at random (default: all)")
    parser.add_argument("--repeats", type=int, default=100, help="timed runs of each (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("pass --data DIR")
    load = os.getloadavg()[0]
    rows = []
    for model_id in args.id:
        model = registry.load(registry.find(registry.models_dir(), model_id))
        rows += table(model, args.data, args.stored_aspect, args.images, args.repeats)
    units = sorted(processor_flags() & {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"})
    count = f"{args.images} validation images drawn at random" if args.images else "all validation images"
    section = [
        f"{processor()}, {available_cores()} cores ({', '.join(units)}), load {load:.1f} at the start; {count}.",
        "",
        "| network | engine | precision | views | ms | accuracy | cross-entropy |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    print("\n".join(section))
    if args.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), processor(), section), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
