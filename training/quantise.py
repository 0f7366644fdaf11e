"""Eight-bit serving files: a float32 LiteRT file quantised after training, with ranges measured on training images.

Weights have a scale per channel, activations one per tensor (Jacob et al., CVPR 2018, doi:10.1109/CVPR.2018.00286).
What comes before the first convolution and after the last one stays in float32: pixels, the feature map that heat maps
are made of, its mean, and the head. Needs `requirements-quantise.txt`.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from dermlens.errors import ModelError

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
SAMPLED = 1000
"""Values of every activation that are kept of an image."""
CORRECTED = 64
"""Images on which biases are corrected: each layer takes a pass over them."""
CLIPPED = np.linspace(0.1, 1, 19)
"""Shares of a range that are tried for the input of SiLU."""


@dataclass(frozen=True)
class Operation:
    """One operation of a file, by the names of its tensors."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Activation:
    """What one activation was on the calibration images."""

    low: float
    high: float
    sample: np.ndarray
    """(k,) float32, values drawn at random"""


def quantise(content: bytes, squares: Sequence[np.ndarray], keep_float: Sequence[str] = ()) -> bytes:
    """Return the eight-bit form of a serving file.

    Args:
        content: of a float32 serving file, as training.export builds it.
        squares: training images, each (size, size, 3) uint8 RGB as preprocess.fit gives them.
        keep_float: regular expressions; operations with a matching name of an output stay in float32 as well.

    Raises:
        ModelError: there is no image, the file has no convolution, or ai-edge-quantizer is not installed.
    """
    operations = operations_of(content)
    kept = [
        *_ends(operations, _outputs(content)),
        *(name for name in _named(operations) if any(re.search(k, name) for k in keep_float)),
    ]
    seen = _observe(content, operations, squares)
    ranges = _ranges(operations, seen)
    small = _quantised(content, ranges, kept)
    return correct_biases(content, small, ranges, squares[:: max(1, len(squares) // CORRECTED)])


def operations_of(content: bytes) -> list[Operation]:
    """Return the operations of a file in the order they run."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    name = {t["index"]: str(t["name"]) for t in interpreter.get_tensor_details()}
    return [
        Operation(
            o["op_name"], tuple(name[i] for i in o["inputs"] if i >= 0), tuple(name[i] for i in o["outputs"] if i >= 0)
        )
        for o in interpreter._get_ops_details()
        if o["op_name"] != "DELEGATE"
    ]


def _outputs(content: bytes) -> list[str]:
    return [str(t["name"]) for t in Interpreter(model_content=content).get_output_details()]


def _named(operations: Sequence[Operation]) -> list[str]:
    return [name for o in operations for name in o.outputs]


def _ends(operations: Sequence[Operation], outputs: Collection[str] = ()) -> list[str]:
    """Return the outputs of what runs before the first convolution, and of what runs after the last one.

    A convolution that gives one of the file's own outputs is of the end too.

    Args:
        operations: of the file. outputs: names of the file's own outputs.
    """
    found = [i for i, o in enumerate(operations) if o.kind in CONVOLUTIONS]
    if not found:
        raise ModelError("The serving file has no convolution: there is nothing to quantise.")
    given = [i for i, o in enumerate(operations) if set(o.outputs) & set(outputs)]
    return _named([*operations[: found[0]], *operations[min([found[-1] + 1, *given]) :]])


def _run(content: bytes, squares: Iterable[np.ndarray]) -> Iterator[tuple[Interpreter, dict[str, dict]]]:
    """Yield the interpreter after each image, with every activation kept, and the details of its tensors by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping activations takes memory
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    details = {str(t["name"]): t for t in interpreter.get_tensor_details()}
    for square in squares:
        interpreter.set_tensor(given["index"], square[None].astype(np.float32))
        interpreter.invoke()
        yield interpreter, details


def _observe(content: bytes, operations: Sequence[Operation], squares: Sequence[np.ndarray]) -> dict[str, Activation]:
    if not len(squares):
        raise ModelError("Quantising needs training images to measure the ranges of activations on.")
    rng = np.random.default_rng(0)
    # In one order, as one generator draws for all.
    constant = tuple(dict.fromkeys((*operations[0].inputs[:1], *_named(operations))))
    low, high, drawn = {}, {}, {name: [] for name in constant}  # type: ignore[var-annotated]
    for interpreter, details in _run(content, squares):
        for name in constant:
            values = interpreter.get_tensor(details[name]["index"])
            low[name] = min(float(values.min()), low.get(name, np.inf))
            high[name] = max(float(values.max()), high.get(name, -np.inf))
            drawn[name].append(values.ravel()[rng.integers(0, values.size, min(values.size, SAMPLED))])
    return {name: Activation(low[name], high[name], np.concatenate(drawn[name])) for name in constant}


def _ranges(operations: Sequence[Operation], seen: dict[str, Activation]) -> dict[str, tuple[float, float]]:
    """Return the range of every activation: all that was seen, for the input of SiLU what keeps its output best.

    SiLU is next to 0 far below it, so a range that reaches down to the lowest input wastes most of its steps.
    """
    into_silu = {name for o in operations if o.kind == "LOGISTIC" for name in o.inputs}
    found = {}
    for name, a in seen.items():
        low, high = min(a.low, 0.0), max(a.high, 0.0)
        found[name] = _best(a.sample.astype(float), low, high) if name in into_silu and low < 0 < high else (low, high)
    return found


def _best(sample: np.ndarray, low: float, high: float) -> tuple[float, float]:
    wanted = _silu(sample)

    def error(clip: tuple[float, float]) -> float:
        return float(((_silu(rounded(sample, *clip)) - wanted) ** 2).mean())

    return min(((low * a, high * b) for a in CLIPPED for b in CLIPPED if b >= 0.3), key=error)


def rounded(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as eight bits over the range low..high give them back."""
    scale = (high - low) / 255
    zero = np.round(-128 - low / scale)
    return scale * (np.clip(np.round(values / scale) + zero, -128, 127) - zero)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-np.clip(x, -60, 60)))


def _quantised(content: bytes, ranges: dict[str, tuple[float, float]], kept: Sequence[str]) -> bytes:
    try:
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
    except ImportError as e:
        raise ModelError("Install ai-edge-quantizer: pip install -r requirements-quantise.txt.") from e
    everything, no = qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_manager.AlgorithmName.NO_QUANTIZE
    work = quantizer.Quantizer(bytearray(content))
    work.add_static_config(".*", everything, activation_num_bits=8, weight_num_bits=8)
    for name in kept:
        work.update_quantization_recipe(f"^{re.escape(name)}", everything, algorithm_key=no)
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", end, algorithm_key=no)
    shape = (1, 1, 1, 1)
    statistics = {
        name: {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}
        for name, (low, high) in ranges.items()
    }
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        return bytes(work.quantize(statistics).quantized_model)


def correct_biases(
    content: bytes, small: bytes, ranges: dict[str, tuple[float, float]], squares: Sequence[np.ndarray]
) -> bytes:
    """Take off every convolution's bias what rounding adds to its mean output, layer by layer in the order they run.

    Empirical bias correction (Nagel et al., ICCV 2019, doi:10.1109/ICCV.2019.00141, section 4.2).

    Args:
        content: of the float32 file. small: of the eight-bit one. ranges: as it was quantised with.
        squares: as `quantise` takes them.
    """
    layers = [o for o in operations_of(content) if o.kind in CONVOLUTIONS and len(o.inputs) == 3]
    wanted = _means(content, [o.outputs[0] for o in layers], ranges, squares)
    biases, found = _biases(small), bytearray(small)
    for layer in layers:
        if layer.inputs[2] not in biases:  # it was left in float32
            continue
        bias, name = biases[layer.inputs[2]], layer.outputs[0]
        shift = _means(bytes(found), [name], ranges, squares)[name] - wanted[name]
        value = np.frombuffer(found, np.int32, len(bias.scale), bias.offset)
        corrected = value - np.round(shift / bias.scale).astype(np.int64)
        found[bias.offset : bias.offset + value.nbytes] = corrected.astype(np.int32).tobytes()
    return bytes(found)


class _Bias(NamedTuple):
    """Where an int32 bias lies in a file, and what one step of it is worth in each channel."""

    offset: int
    scale: np.ndarray


def _biases(content: bytes) -> dict[str, _Bias]:
    """Return the int32 tensors of an eight-bit file that have a scale."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    found = {}
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        scaled = tensor.Quantization()
        if tensor.Type() == schema.TensorType.INT32 and scaled is not None and scaled.ScaleLength():
            buffer = model.Buffers(tensor.Buffer())
            inside = buffer._tab.Vector(buffer._tab.Offset(4)) if buffer.DataLength() else buffer.Offset()
            found[tensor.Name().decode()] = _Bias(int(inside), scaled.ScaleAsNumpy().astype(np.float64))
    return found


def _means(
    content: bytes, names: Sequence[str], ranges: dict[str, tuple[float, float]], squares: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the mean of each channel of some activations, clipped to their range, (C,) float64."""
    total = dict.fromkeys(names, np.zeros(1))
    for interpreter, details in _run(content, squares):
        for name in names:
            values = interpreter.get_tensor(details[name]["index"])
            if details[name]["dtype"] == np.int8:
                scale, zero = details[name]["quantization"]
                values = (values.astype(np.float32) - zero) * scale
            clipped = np.clip(values, *ranges[name])
            total[name] = total[name] + clipped.reshape(-1, values.shape[-1]).mean(0, dtype=np.float64)
    return {name: value / len(squares) for name, value in total.items()}
