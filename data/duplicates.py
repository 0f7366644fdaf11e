"""Find images that show the same thing: exact copies, perceptual hashes, and local features that agree.

HAM10000 names lesions, but not faultlessly: some lesions were published under two ids, mostly as two shots or two crops
of one photograph. Two searches complement each other.

- *Perceptual hash*: the signs of the low frequencies of the discrete cosine transform (Zauner, "Implementation and
  Benchmarking of Perceptual Image Hash Functions", 2010) of the centre square, which a rotation or mirroring maps onto
  itself, so that all eight symmetries come from one transform. 256 bits and not the usual 64, which let thousands of
  strangers through: dermoscopic images are all a dark blob on light skin. It finds copies that were recompressed,
  recoloured, mirrored or turned, but neither shifted nor zoomed ones.
- *Local features*: ORB keypoints (Rublee et al., ICCV 2011), looked up in tables of shared descriptor bytes to spare
  trying every pair, and confirmed by counting how many agree on one shift, turn and zoom (RANSAC). It finds shifted,
  turned and zoomed copies and other shots of the lesion, but no mirrored ones.

OpenCV does all of it: the imagehash library would add a dependency and has no symmetries.
"""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.dataset.ham10000 import SPLIT_TABLE
from dermlens.image.preprocess import resize

SAME_LESION_TABLE = SPLIT_TABLE.with_name("same_lesion.csv")  # written by data.audit
HEIGHT = 224  # pixels to which every image is brought, so that any resolution gives the same result
HASH_SIDE = 16
FEATURES = 250
# A key is three neighbouring bytes of a descriptor. What many features share says nothing (hairs, rulers, vignettes).
KEY_BYTES = 3
MAX_SHARERS = 8
MIN_SHARED = 6  # shared keys that make a pair worth confirming
HASH_CANDIDATE = 40
# Limits for a duplicate, chosen by looking at pairs of HAM10000 with different lesion ids: all 83 within a limit show
# one lesion. The first that do not are 22 bits apart, or have 22 agreeing features (the ruler of one camera).
HASH_LIMIT = 16
AGREEING_LIMIT = 25


@dataclass(frozen=True)
class Described:
    """What is compared of an image.

    digest: SHA-256 of its pixels; hashes: (8, 4) uint64, one row per symmetry, the first being the image as it is;
    points: (n, 2) float32 pixels; descriptors: (n, 32) uint8, n up to 250.
    """

    digest: str
    hashes: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray


def describe(pixels: np.ndarray) -> Described:
    """Describe an image of (height, width, 3) uint8 RGB at its true aspect."""
    digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(resize(pixels, HEIGHT, max(1, round(HEIGHT * width / height))), cv2.COLOR_RGB2GRAY)
    found, descriptors = cv2.ORB.create(FEATURES, fastThreshold=5).detectAndCompute(grey, None)
    points = np.array([k.pt for k in found], np.float32).reshape(-1, 2)
    return Described(digest, hashes(grey), points, np.zeros((0, 32), np.uint8) if descriptors is None else descriptors)


def hashes(grey: np.ndarray) -> np.ndarray:
    """Return the perceptual hashes of a (height, width) uint8 image in its eight symmetries, (8, 4) uint64."""
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    square = resize(grey[top : top + side, left : left + side], 4 * HASH_SIDE, 4 * HASH_SIDE)
    low = cv2.dct(square.astype(np.float32))[:HASH_SIDE, :HASH_SIDE]
    mirror = (-1.0) ** np.arange(HASH_SIDE)  # mirroring an image negates its odd frequencies
    forms = [
        form * (mirror if across else 1) * (mirror[:, None] if down else 1)
        for form in (low, low.T)
        for across in (False, True)
        for down in (False, True)
    ]
    flat = np.stack(forms).reshape(8, -1)[:, 1:]  # the mean brightness is not a feature
    bits = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(np.pad(bits, ((0, 0), (0, 1))), axis=1).view(np.uint64)


def distances(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the smallest Hamming distance over the symmetries, 0..255.

    Args:
        one: (n, 4) or (1, 4) uint64, hashes of images as they are.
        others: (n, 8, 4) uint64.

    Returns:
        (n,) int.
    """
    differing = np.bitwise_count(one[:, None, :] ^ others)
    return differing.sum(-1, dtype=np.int64).min(-1)


def alike(all_hashes: np.ndarray, limit: int = HASH_CANDIDATE, block: int = 128) -> np.ndarray:
    """Return the pairs i < j whose hashes are at most `limit` apart, (m, 2) int, from (n, 8, 4) uint64 hashes."""
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(all_hashes), block):
        rows, columns = all_hashes[start : start + block, 0], all_hashes[start:]
        nearest = np.full((len(rows), len(columns)), 255, np.uint16)
        for symmetry in range(8):
            apart = np.zeros_like(nearest)
            for word in range(all_hashes.shape[2]):
                apart += np.bitwise_count(rows[:, None, word] ^ columns[None, :, symmetry, word])
            np.minimum(nearest, apart, out=nearest)
        i, j = np.nonzero(nearest <= limit)
        pairs.append(np.stack([i, j], 1)[j > i] + start)
    return np.concatenate(pairs)


def sharing(descriptors: list[np.ndarray], minimum: int = MIN_SHARED) -> np.ndarray:
    """Return the pairs i < j of images that share at least `minimum` descriptor keys, (m, 2) int."""
    n = len(descriptors)
    owner = np.repeat(np.arange(n, dtype=np.int64), [len(d) for d in descriptors])
    table = np.concatenate(descriptors).astype(np.uint32)
    codes = [np.zeros(0, np.int64)]
    for first in range(table.shape[1] - KEY_BYTES + 1):
        key = (table[:, first] << 16) | (table[:, first + 1] << 8) | table[:, first + 2]
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=np.uint32(1 << 31)))
        sizes = np.diff(starts, append=len(order))
        useful = (sizes > 1) & (sizes <= MAX_SHARERS)
        owners = owner[order][np.repeat(useful, sizes)]
        run = np.repeat(np.arange(useful.sum()), sizes[useful])
        for step in range(1, MAX_SHARERS):
            one, other = owners[:-step], owners[step:]
            pair = (run[:-step] == run[step:]) & (one != other)
            codes.append(np.minimum(one, other)[pair] * n + np.maximum(one, other)[pair])
    found, count = np.unique(np.concatenate(codes), return_counts=True)
    return np.stack(np.divmod(found[count >= minimum], n), 1) if len(found) else np.zeros((0, 2), np.int64)


def agreeing(one: Described, other: Described) -> int:
    """Return how many local features of two images agree on one shift, turn and zoom."""
    if min(len(one.points), len(other.points)) < 3:
        return 0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(one.descriptors, other.descriptors)
    matches = [m for m in matches if m.distance < 64]  # a quarter of the bits
    if len(matches) < 3:
        return 0
    here = one.points[[m.queryIdx for m in matches]]
    there = other.points[[m.trainIdx for m in matches]]
    _, inliers = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=4, maxIters=500)
    return 0 if inliers is None else int(inliers.sum())


def search(images: list[Described]) -> pd.DataFrame:
    """Return every pair of images worth comparing.

    Returns:
        Columns i < j (positions in `images`), distance (of the perceptual hashes, 0..255), agreeing (local features),
        exact and duplicate (bool), sorted by i and j.
    """
    all_hashes = np.stack([d.hashes for d in images])
    digests = pd.Series([d.digest for d in images])
    copies = [(a, b) for _, g in digests.groupby(digests) for a, b in zip(g.index[:-1], g.index[1:], strict=True)]
    pairs = np.unique(
        np.concatenate(
            [alike(all_hashes), sharing([d.descriptors for d in images]), np.array(copies, np.int64).reshape(-1, 2)]
        ),
        axis=0,
    )
    i, j = pairs.T
    table = pd.DataFrame({"i": i, "j": j, "distance": distances(all_hashes[i, 0], all_hashes[j])})
    table["agreeing"] = [
        agreeing(images[a], images[b]) for a, b in tqdm(pairs, desc="comparing", unit=" pairs", disable=None)
    ]
    table["exact"] = digests.to_numpy()[i] == digests.to_numpy()[j]
    table["duplicate"] = table["exact"] | (table["distance"] <= HASH_LIMIT) | (table["agreeing"] >= AGREEING_LIMIT)
    return table


def join_lesions(lesions: pd.Series, same: pd.DataFrame) -> pd.Series:
    """Give lesions that are one and the same one name.

    Args:
        lesions: lesion ids.
        same: columns lesion_a and lesion_b, each row two ids of one lesion.

    Returns:
        `lesions` with every id replaced by the first, in alphabetical order, of all ids of its lesion.
    """
    name = {lesion: lesion for lesion in [*lesions, *same["lesion_a"], *same["lesion_b"]]}
    for a, b in zip(same["lesion_a"], same["lesion_b"], strict=True):
        first, last = sorted((name[a], name[b]))
        name = {lesion: first if now == last else now for lesion, now in name.items()}
    return lesions.map(name)
