"""Calibration: from a network's logits to probabilities that mean what they say.

Three maps, each a special case of the next: temperature scaling (one number for all logits; Guo et al., "On
calibration of modern neural networks", ICML 2017), temperature with a bias for every class (Alexandari et al.,
"Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift adaptation", ICML 2020), and vector
scaling (a scale and a bias for every class; Guo et al.). A bias can undo what favours rare classes in the logits, be it
that a network saw them more often in training than they are or that its head was adjusted; a temperature cannot.

Because of that the most probable class need not be the one with the largest logit. The call of a model is, everywhere,
the most probable one: of a calibrated model at the class mix that it was fitted for, unless another one is stated
(`evaluation.class_mix`).

Everything is fitted on validation by the mean negative log likelihood, a convex problem, with a normal prior that draws
a class with few images towards the others. How narrow it is, is chosen by cross-fitting.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dermlens.errors import DataError, ModelError
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import File, read_object
from dermlens.labels import CLASSES, N_CLASSES

FOLDS = 5
PRIORS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Standard deviations to choose from of the normal prior on every bias and every scale's distance from their mean."""
WIDEST = PRIORS[-1]
_SCALES = (0.01, 100.0)
_ONE = np.ones((N_CLASSES, 1))
_NONE = np.zeros((N_CLASSES, N_CLASSES))
_CENTRE = np.eye(N_CLASSES) - 1 / N_CLASSES
"""Takes the mean off, as adding a number to all biases changes no probability."""


@dataclass(frozen=True)
class Calibration:
    """A fitted map from logits to calibrated logits, `scale * logits + bias`; classes as in labels.CLASSES."""

    method: str
    """one of METHODS"""
    scale: tuple[float, ...]
    """(7,), > 0; all the same, 1 / temperature, unless the method is "vector" """
    bias: tuple[float, ...]
    """(7,), adding up to 0; all 0 if the method is "temperature" """
    class_mix: tuple[int, ...]
    """(7,), how many images of each class it was fitted on: the mix that its probabilities hold for"""
    prior_sd: float = WIDEST
    """standard deviation of the prior it was fitted with"""

    def adjust(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits (..., 7) float64 of a network's logits (..., 7)."""
        return np.asarray(logits, np.float64) * np.array(self.scale) + np.array(self.bias)

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (..., 7) float64, summing to 1, of a network's logits (..., 7).

        They hold where the class mix is `class_mix`: `class_mix.reweight` is for another one.
        """
        return np.exp(log_softmax(self.adjust(logits)))

    @property
    def temperature(self) -> float:
        """What the logits are divided by; of vector scaling the (geometric) mean over the classes."""
        return float(np.exp(-np.log(self.scale).mean()))


def fit_temperature(logits: np.ndarray, y_true: np.ndarray, prior_sd: float = WIDEST) -> Calibration:
    """Fit one temperature.

    Args:
        logits: (n, 7) float. y_true: (n,) int, 0..6. prior_sd: > 0; of no account for one number.

    Raises:
        DataError: there is no image.
    """
    return _fit("temperature", logits, y_true, prior_sd, _ONE, _NONE[:, :1])


def fit_bias(logits: np.ndarray, y_true: np.ndarray, prior_sd: float = WIDEST) -> Calibration:
    """Fit one temperature and a bias for every class; arguments as `fit_temperature`."""
    return _fit("bias", logits, y_true, prior_sd, np.hstack([_ONE, _NONE]), np.hstack([_NONE[:, :1], _CENTRE]))


def fit_vector(logits: np.ndarray, y_true: np.ndarray, prior_sd: float = WIDEST) -> Calibration:
    """Fit a scale and a bias for every class; arguments as `fit_temperature`."""
    return _fit("vector", logits, y_true, prior_sd, np.hstack([np.eye(N_CLASSES), _NONE]), np.hstack([_NONE, _CENTRE]))


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, float], Calibration]] = {
    "temperature": fit_temperature,
    "bias": fit_bias,
    "vector": fit_vector,
}
"""From the fewest numbers to the most."""


def folds(predictions: Predictions, n: int = FOLDS) -> np.ndarray:
    """Deal the lesions out into n folds, every class evenly; the same lesions always land in the same folds.

    Returns:
        (n_images,) int64, 0..n-1; images of one lesion have one number, whatever the order of the rows.
    """
    p = predictions
    dx = np.full(p.n_lesions, N_CLASSES)
    np.minimum.at(dx, p.lesion, p.y_true)
    fold = np.empty(p.n_lesions, np.int64)
    start = 0
    for i in range(N_CLASSES):
        of_class = np.flatnonzero(dx == i)
        fold[of_class] = (start + np.arange(len(of_class))) % n
        start += len(of_class)
    return fold[p.lesion]


def out_of_fold(predictions: Predictions, method: str, prior_sd: float = WIDEST) -> np.ndarray:
    """Calibrate every image with a map fitted on the other folds' lesions only.

    Args:
        predictions: of the validation split, from the network, not calibrated.
        method: one of METHODS. prior_sd: as in PRIORS.

    Returns:
        (n, 7) float64 probabilities, as honest on these images as calibrated ones are on new images.

    Raises:
        DataError: there are fewer lesions than folds.
    """
    p = predictions
    if p.n_lesions < FOLDS:
        raise DataError(f"Calibration needs images of at least {FOLDS} lesions, got {p.n_lesions}.")
    fit, fold = METHODS[method], folds(p)
    found = np.empty((len(p), N_CLASSES))
    for i in range(FOLDS):
        here = fold == i
        found[here] = fit(p.logits[~here], p.y_true[~here], prior_sd).apply(p.logits[here])
    return found


def try_all(predictions: Predictions) -> dict[str, dict[float, np.ndarray]]:
    """Cross-fit every method with every prior.

    Returns:
        method -> prior_sd -> -log p(true class) of every image by `out_of_fold`, (n,) float64 in nats. To a temperature
        a prior is of no account.
    """
    y = predictions.y_true
    temperature = -_log_of_true(out_of_fold(predictions, "temperature"), y)
    others = {m: {sd: -_log_of_true(out_of_fold(predictions, m, sd), y) for sd in PRIORS} for m in list(METHODS)[1:]}
    return {"temperature": dict.fromkeys(PRIORS, temperature), **others}


def choose(predictions: Predictions, tried: dict[str, dict[float, np.ndarray]]) -> tuple[str, float]:
    """Return the method to calibrate a model with and its prior: the simplest method that no richer one clearly beats.

    A richer method beats a simpler one clearly if its cross-fitted negative log likelihood is lower by more than 1.96
    standard errors of the difference, which are taken over lesions. Each has the prior of `choose_prior`.

    Args:
        predictions: as `out_of_fold`. tried: of them, by `try_all`.
    """
    chosen = "temperature", WIDEST
    for method in list(METHODS)[1:]:
        prior_sd = choose_prior(predictions, tried[method])
        gain, error = _mean_over_lesions(predictions, tried[chosen[0]][chosen[1]] - tried[method][prior_sd])
        if gain > 1.96 * error:
            chosen = method, prior_sd
    return chosen


def fit(predictions: Predictions, tried: dict[str, dict[float, np.ndarray]]) -> Calibration:
    """Return the calibration fitted on predictions by the method and with the prior that `choose` chooses.

    Args:
        predictions: to fit on. tried: of `try_all` for them.
    """
    method, prior_sd = choose(predictions, tried)
    return METHODS[method](predictions.logits, predictions.y_true, prior_sd)


def choose_prior(predictions: Predictions, tried: dict[float, np.ndarray]) -> float:
    """Return the narrowest of PRIORS whose cross-fitted loss is within one standard error of the lowest.

    The one-standard-error rule (Breiman, Friedman, Olshen & Stone, Classification and Regression Trees, 1984), with the
    standard error of the difference from the best prior on the same images, over lesions.

    Args:
        predictions: as `out_of_fold`. tried: of one method, by `try_all`.
    """
    best = min(tried.values(), key=np.mean)
    for prior_sd, found in tried.items():
        loss, error = _mean_over_lesions(predictions, found - best)
        if loss <= error:
            return prior_sd
    return WIDEST


def _mean_over_lesions(predictions: Predictions, values: np.ndarray) -> tuple[float, float]:
    """Return the mean of (n,) values of images and its standard error, images of one lesion taken together."""
    sums = np.bincount(predictions.lesion, values)
    return float(values.mean()), float(np.sqrt(len(sums)) * sums.std() / len(values))


def calibrate(predictions: Predictions, calibration: Calibration) -> Predictions:
    """Return predictions with calibrated logits, probabilities and calls, and the class mix that they hold for."""
    return replace(
        predictions, logits=calibration.adjust(predictions.logits), class_mix=np.array(calibration.class_mix)
    )


def unseen(predictions: Predictions, calibration: Calibration) -> np.ndarray:
    """Return the probabilities of images as if the calibration had not been fitted on them, (n, 7) float64.

    Args:
        predictions: of one split, from the network, not calibrated. Those of validation are cross-fitted by the
            calibration's method and prior; others get the calibration itself.
        calibration: the model's.
    """
    if "validation" in predictions.splits:
        return out_of_fold(predictions, calibration.method, calibration.prior_sd)
    return calibration.apply(predictions.logits)


def read(file: File) -> Calibration:
    """Read calibration.json; raises ModelError if it is not what training.fit writes for these seven classes."""
    stored = read_object(file, ModelError)
    try:
        method, classes = stored["method"], stored["classes"]
        scale, bias = (tuple(float(v) for v in stored[name]) for name in ("scale", "bias"))
        mix, prior_sd = stored.get("class_mix"), float(stored.get("prior_sd", WIDEST))
    except (ValueError, KeyError, TypeError) as e:
        raise ModelError(f"{file.name} is not a calibration ({type(e).__name__}: {e}).") from e
    if classes != list(CLASSES) or method not in METHODS:
        raise ModelError(
            f"{file.name}: one of {', '.join(METHODS)} for {list(CLASSES)} expected, got {method!r} for {classes}."
        )
    if len(scale) != N_CLASSES or len(bias) != N_CLASSES or not np.isfinite([*scale, *bias]).all() or min(scale) <= 0:
        raise ModelError(f"{file.name}: seven finite scales > 0 and biases expected, got {scale} and {bias}.")
    if not (isinstance(mix, list) and len(mix) == N_CLASSES and all(type(n) is int and n >= 0 for n in mix)):
        raise ModelError(f"{file.name} does not say how many images of each class it was fitted on: fit it again.")
    if not any(mix):
        raise ModelError(f"{file.name} was fitted on no image: fit it again.")
    if not 0 < prior_sd < np.inf:
        raise ModelError(f"{file.name}: 'prior_sd' must be a number > 0, got {prior_sd}.")
    return Calibration(method, scale, bias, tuple(mix), prior_sd)


def _log_of_true(probabilities: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    return np.log(np.take_along_axis(probabilities, y_true[:, None], 1)[:, 0])


def _fit(
    method: str, logits: np.ndarray, y_true: np.ndarray, prior_sd: float, scales: np.ndarray, biases: np.ndarray
) -> Calibration:
    """Fit x so that scale = scales @ x and bias = biases @ x; both matrices are (7, len(x))."""
    from scipy.optimize import minimize  # a tenth of a second that only fitting needs

    n = len(y_true)
    if n == 0:
        raise DataError("Calibration needs at least one image, got none.")
    spread = _CENTRE @ scales
    prior = (spread.T @ spread + biases.T @ biases) / (prior_sd**2 * n)
    # A row a class: sums over seven neighbours would take twice as long.
    rows, hit, image = np.ascontiguousarray(logits.T), np.eye(N_CLASSES)[y_true].T, np.arange(n)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        shifted = rows * (scales @ x)[:, None] + (biases @ x)[:, None]
        shifted -= shifted.max(0)
        exp = np.exp(shifted)
        total = exp.sum(0)
        slope = (exp / total - hit) / n
        gradient = scales.T @ (slope * rows).sum(1) + biases.T @ slope.sum(1) + prior @ x
        return float((np.log(total) - shifted[y_true, image]).sum() / n + x @ prior @ x / 2), gradient

    is_scale = np.asarray(scales.any(0))
    bounds = [_SCALES if s else (None, None) for s in is_scale]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(objective, is_scale.astype(float), method="L-BFGS-B", jac=True, bounds=bounds, options=options)
    # Four decimals are what another processor's rounding leaves the same.
    scale, bias = (np.round(v, 4).tolist() for v in (scales @ found.x, biases @ found.x))
    mix = np.bincount(y_true, minlength=N_CLASSES).tolist()
    return Calibration(method, tuple(scale), tuple(bias), tuple(mix), prior_sd)
