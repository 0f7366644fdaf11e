"""The rule by which an ensemble's networks withhold a case (`dermlens.trust.withholding`), chosen and measured.

What it takes are scores alone, wherever the images and pictures come from: of dermoscopic images of validation with
their diagnoses, and of other pictures in two halves, one to choose by and one to measure on.
"""

from collections.abc import Sequence

import numpy as np

from dermlens.labels import CLASSES
from dermlens.trust.withholding import COMBINED, TradeOff, Withholding, beyond, combine

PHOTOGRAPH = "photograph"
MOST = 0.15
"""Largest share of the images of any diagnosis that a rule should withhold: 3 of 21 vascular lesions, 2 of 16
dermatofibromas."""
ACCEPTED = (0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995)
"""Shares of the validation images at whose score a limit is tried."""


def choose(
    images: np.ndarray,
    diagnosis: Sequence[str],
    pictures: np.ndarray,
    kinds: Sequence[str],
    measured: np.ndarray,
    members: Sequence[str],
) -> Withholding:
    """Return the rule that refuses the pictures to choose by and withholds few images of every diagnosis.

    In this order: it refuses the most photographs, no diagnosis loses more than MOST of its images (or as little more
    as possible), it refuses the most of the other pictures (mean over their kinds), it withholds the fewest images.

    Args:
        images: (n, members) float, dermoscopic images of validation: score less the network's limit.
        diagnosis: n class codes.
        pictures: (k, members) float, the same of pictures that are not dermoscopic.
        kinds: what each of the k is; PHOTOGRAPH or another name.
        measured: (k,) bool, which of them are to be measured on; the others are to choose by.
        members: ids of the networks.
    """
    spread = images.std(0, ddof=1)
    known, others, kind = images / spread, pictures / spread, np.asarray(kinds)
    points, ranks = [], []
    for by in (*COMBINED, *members):
        for accepted in ACCEPTED:
            limit = round(float(np.quantile(combine(known, by, members), accepted, method="higher")), 6)
            withheld, refused = (beyond(z, by, limit, members) > 0 for z in (known, others))
            points.append(_trade_off(by, limit, withheld, np.asarray(diagnosis), refused[measured], kind[measured]))
            photographs, rest = _refused(refused[~measured], kind[~measured])
            ranks.append((photographs, -max(0.0, points[-1].worst - MOST), rest, -points[-1].share))
    best = points[max(range(len(points)), key=ranks.__getitem__)]
    return Withholding(best.by, best.limit, dict(zip(members, spread.tolist(), strict=True)), tuple(points))


def _trade_off(
    by: str, limit: float, withheld: np.ndarray, diagnosis: np.ndarray, refused: np.ndarray, kinds: np.ndarray
) -> TradeOff:
    counts = {c: (int(withheld[diagnosis == c].sum()), int((diagnosis == c).sum())) for c in CLASSES}
    photographs = refused[kinds == PHOTOGRAPH]
    others = round(_refused(refused, kinds)[1], 6)
    return TradeOff(by, limit, counts, (int(photographs.sum()), len(photographs)), others)


def _refused(refused: np.ndarray, kinds: np.ndarray) -> tuple[float, float]:
    """Return the share of photographs refused, and the mean over the other kinds of theirs; 0 where there are none."""
    shares = {kind: float(refused[kinds == kind].mean()) for kind in np.unique(kinds)}
    photographs = shares.pop(PHOTOGRAPH, 0.0)
    return photographs, float(np.mean(list(shares.values()))) if shares else 0.0
