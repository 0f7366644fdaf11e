"""Pictures that the networks were not made for, to measure whether that is noticed (training.fits.embeddings).

Real photographs ship inside scikit-image and scikit-learn; more are used where Debian's packages are installed
(`apt-get install plasma-workspace-wallpapers opencv-doc`). Screens, textures, noise and flat colours are drawn by code.
Broken dermoscopic images are made of the data set's own. No network is needed, and the same pictures come every time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from dermlens.case.image import thumbnail
from dermlens.errors import DataError
from dermlens.image.synthetic import draw_lesion
from dermlens.ingest.read import read_file

HEIGHT, WIDTH = 300, 400
LARGEST = 800
"""Longest side of real pictures, in pixels."""
DRAWN = 24
"""Pictures of each way of drawing."""
CROPS = 4
"""Views of each real picture: the whole of it and random parts."""
PACKAGED = {
    "photograph": {
        "skimage": "astronaut.png camera.png chelsea.png clock_motion.png coffee.png coins.png hubble_deep_field.jpg "
        "moon.png motorcycle_left.png rocket.jpg",
        "sklearn": "china.jpg flower.jpg",
    },
    "texture": {"skimage": "brick.png grass.png gravel.png"},
    "other medical picture": {"skimage": "cell.png ihc.png microaneurysms.png retina.jpg"},
    "screen or document": {"skimage": "page.png text.png"},
}
FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
WALLPAPERS = Path("/usr/share/wallpapers")
WALLPAPER_NAMES = (
    "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path summer_1am"
)
OPENCV = Path("/usr/share/doc/opencv-doc/examples/data")
OPENCV_NAMES = (
    "aero1.jpg aloeL.jpg apple.jpg baboon.jpg basketball1.png board.jpg box.png box_in_scene.png building.jpg "
    "butterfly.jpg chicky_512.png ela_original.jpg fruits.jpg graf1.png home.jpg left01.jpg leuvenA.jpg "
    "licenseplate_motion.jpg messi5.jpg orange.jpg rubberwhale1.png smarties.png squirrel_cls.jpg stuff.jpg"
)
SKIN = (226, 178, 156)


@dataclass(frozen=True, eq=False)
class OodPicture:
    """One picture: (h, w, 3) uint8 RGB, the kind it stands for, and its source, which others may share."""

    kind: str
    source: str
    pixels: np.ndarray


def pictures() -> Iterator[OodPicture]:
    """Yield every picture that does not come from the data set, kind by kind."""
    for kind, source, file in _files():
        whole = thumbnail(read_file(file).pixels, LARGEST)
        rng = np.random.default_rng(list(source.encode()))
        for _ in range(CROPS - 1):
            yield OodPicture(kind, source, _crop(whole, rng))
        yield OodPicture(kind, source, whole)
    for kind, draws in DRAWINGS.items():
        for draw in draws:
            for i in range(DRAWN):
                name = draw.__name__.strip("_")
                yield OodPicture(kind, f"{name} {i}", draw(np.random.default_rng([i, *name.encode()])))


def broken(pixels: np.ndarray, source: str) -> Iterator[OodPicture]:
    """Yield a dermoscopic image, broken in every way of BREAKS so much that it should not be answered.

    Args:
        pixels: (h, w, 3) uint8 RGB. source: its lesion.
    """
    rng = np.random.default_rng(list(source.encode()))
    for name, change in BREAKS.items():
        yield OodPicture(f"dermoscopic, {name}", source, change(pixels, rng))


def first_half(kinds: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Split pictures in two: (n,) bool from (n,) str each. Every second source of a kind, so that none is in both.

    Broken images of one lesion stay together, whatever was done to them.
    """
    groups = np.array([kind.partition(",")[0] for kind in kinds])
    half = np.zeros(len(kinds), bool)
    for group in np.unique(groups):
        mine = groups == group
        half[mine] = np.unique(sources[mine], return_inverse=True)[1] % 2 == 0
    return half


def _files() -> Iterator[tuple[str, str, Path]]:
    for kind, packages in PACKAGED.items():
        for package, names in packages.items():
            spec = find_spec(package)
            if spec is None or spec.origin is None:
                raise DataError(
                    f"{package} is not installed, but its pictures are needed: pip install -r requirements-dev.txt"
                )
            for name in names.split():
                yield kind, f"{package} {name}", Path(spec.origin).parent / FOLDERS[package] / name
    optional = {f"wallpaper {n}": WALLPAPERS / n / "contents/images/2560x1600.jpg" for n in WALLPAPER_NAMES.split()}
    optional |= {f"opencv {n}": OPENCV / n for n in OPENCV_NAMES.split()}
    for source, file in optional.items():
        if file.is_file():
            yield "photograph", source, file


def _crop(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random part of 40 to 80 % of each side."""
    height, width = pixels.shape[:2]
    h, w = (max(32, round(side * rng.uniform(0.4, 0.8))) for side in (height, width))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return np.ascontiguousarray(pixels[top : top + h, left : left + w])


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    r, g, b = rng.integers(0, 256, 3)
    return int(r), int(g), int(b)


def _canvas(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def _lines_of_text(image: np.ndarray, rng: np.random.Generator, colour: tuple[int, int, int], top: int) -> None:
    letters = np.array(list("abcdefghiklmnoprstuvw   "))
    scale = rng.uniform(0.3, 0.7)
    for y in range(top, HEIGHT, round(40 * scale)):
        line = "".join(rng.choice(letters, rng.integers(10, 60)))
        cv2.putText(image, line, (12, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _page(rng: np.random.Generator) -> np.ndarray:
    image = _canvas((255, 255, 255) if rng.random() < 0.6 else (28, 30, 34))
    _lines_of_text(image, rng, (20, 20, 20) if image[0, 0, 0] > 128 else (230, 230, 230), 24)
    return image


def _window(rng: np.random.Generator) -> np.ndarray:
    image = _canvas(_colour(rng))
    cv2.rectangle(image, (20, 20), (WIDTH - 20, HEIGHT - 20), (245, 245, 245), -1)
    cv2.rectangle(image, (20, 20), (WIDTH - 20, 44), _colour(rng), -1)
    for _ in range(rng.integers(2, 7)):
        x, y, w, h = (int(v) for v in rng.integers((30, 60, 30, 12), (WIDTH - 120, HEIGHT - 60, 90, 34)))
        cv2.rectangle(image, (x, y), (x + w, y + h), _colour(rng), -1)
    _lines_of_text(image[:, 30 : WIDTH - 30], rng, (30, 30, 30), 64)
    return image


def _chart(rng: np.random.Generator) -> np.ndarray:
    image = _canvas((255, 255, 255))
    cv2.line(image, (40, 20), (40, HEIGHT - 30), (0, 0, 0), 1)
    cv2.line(image, (40, HEIGHT - 30), (WIDTH - 20, HEIGHT - 30), (0, 0, 0), 1)
    if rng.random() < 0.5:
        for x in range(60, WIDTH - 50, 36):
            cv2.rectangle(image, (x, int(rng.integers(30, HEIGHT - 40))), (x + 24, HEIGHT - 30), _colour(rng), -1)
    else:
        for _ in range(3):
            y = HEIGHT / 2 + np.cumsum(rng.normal(0, 12, 60))
            points = np.stack([np.linspace(45, WIDTH - 25, 60), y.clip(20, HEIGHT - 32)], -1).astype(np.int32)
            cv2.polylines(image, [points], False, _colour(rng), 2, cv2.LINE_AA)
    return image


def _checks(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] // rng.integers(6, 60)
    return np.where(((x + y) % 2)[..., None] == 0, _colour(rng), _colour(rng)).astype(np.uint8)


def _between_two_colours(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image that has the first of two colours where the share (HEIGHT, WIDTH, 1) is 1, the other where 0."""
    return (share * _colour(rng) + (1 - share) * np.array(_colour(rng))).astype(np.uint8)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle = rng.uniform(0, np.pi)
    wave = rng.uniform(6, 60)
    share = (0.5 + 0.5 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / wave))[..., None]
    return _between_two_colours(share, rng)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    share = np.zeros((HEIGHT, WIDTH))
    for n in (3, 7, 15, 40):
        share += cv2.resize(rng.uniform(0, 1, (n, n)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) / n
    share = ((share - share.min()) / np.ptp(share))[..., None]
    return _between_two_colours(share, rng)


def _uniform_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def _skin_noise(rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.normal(SKIN, rng.uniform(40, 90), (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def _blocks(rng: np.random.Generator) -> np.ndarray:
    n = int(rng.integers(4, 40))
    small = rng.integers(0, 256, (n, n, 3), np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)


def _flat(rng: np.random.Generator) -> np.ndarray:
    return _canvas(_colour(rng))


def _flat_skin(rng: np.random.Generator) -> np.ndarray:
    tone = np.array(SKIN) * rng.uniform(0.5, 1.1)
    return np.clip(tone + rng.normal(0, 2.5, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def _gradient(rng: np.random.Generator) -> np.ndarray:
    share = np.linspace(0, 1, WIDTH)[None, :, None] * np.ones((HEIGHT, 1, 1))
    return _between_two_colours(share, rng)


def _drawn_lesion(rng: np.random.Generator) -> np.ndarray:
    return draw_lesion(rng, HEIGHT, WIDTH)


def _tiles(pixels: np.ndarray, rng: np.random.Generator, n: int = 6) -> np.ndarray:
    height, width = (side // n * n for side in pixels.shape[:2])
    tiles = pixels[:height, :width].reshape(n, height // n, n, width // n, 3).swapaxes(1, 2).reshape(n * n, -1)
    mixed = tiles[rng.permutation(n * n)].reshape(n, n, height // n, width // n, 3)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(height, width, 3))


def _blurred(pixels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), 0.08 * min(pixels.shape[:2]))


def _mosaic(pixels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (12, 9), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def _noisy(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(pixels + rng.normal(0, 80, pixels.shape), 0, 255).astype(np.uint8)


def _edges(pixels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.repeat(cv2.Canny(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 30, 90)[..., None], 3, -1)


DRAWINGS: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], ...]] = {
    "screen or document": (_page, _window, _chart),
    "texture": (_checks, _stripes, _clouds),
    "noise": (_uniform_noise, _skin_noise, _blocks),
    "flat colour": (_flat, _flat_skin, _gradient),
    "drawing of a lesion": (_drawn_lesion,),
}
BREAKS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "blurred": _blurred,
    "mosaic": _mosaic,
    "inverted": lambda pixels, _: 255 - pixels,
    "colours swapped": lambda pixels, _: np.ascontiguousarray(pixels[..., ::-1]),
    "tiles shuffled": _tiles,
    "noisy": _noisy,
    "nearly black": lambda pixels, _: pixels // 12,
    "edges only": _edges,
}
