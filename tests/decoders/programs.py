"""Independent programs that decode image files. They share no code with this project, and Debian has them all."""

import base64
import io
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from PIL import Image, ImageCms
from playwright.sync_api import Error

from dermlens.ingest.decoders.pixels import BACKGROUND
from dermlens.ingest.formats import format_of
from tests.browser.app import chromium, chromium_path

_IMAGES = frozenset({"JPEG", "PNG", "WebP", "TIFF", "BMP", "HEIC", "AVIF"})
KINDS = {
    "ImageMagick": _IMAGES | {"DICOM"},
    "libvips": _IMAGES - {"BMP"},
    "libheif": frozenset({"HEIC", "AVIF"}),
    "dcmtk": frozenset({"DICOM"}),
    "Chromium": frozenset({"JPEG", "PNG", "WebP", "BMP", "AVIF"}),
}
"""The formats that each program is asked for."""
_COMMANDS = {
    "ImageMagick": ("convert",),
    "libvips": ("vipsthumbnail",),
    "libheif": ("heif-convert",),
    "dcmtk": ("dcmj2pnm", "dcml2pnm"),
}
_SECONDS = 300
_IN_THE_BROWSER = """async ([data, type]) => {
    const image = new Image();
    image.src = `data:${type};base64,${data}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", {colorSpace: "srgb"});
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return [canvas.height, canvas.width, btoa(text)];
}"""


def missing(program: str) -> str:
    """Return which commands of a program are not on this machine, "" if it can be run."""
    if program == "Chromium":
        return "" if chromium_path() else "chromium"
    return " ".join(command for command in _COMMANDS[program] if not shutil.which(command))


def decode(program: str, files: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Decode files by a program that is not missing.

    Args:
        program: one of KINDS.
        files: by any name.

    Returns:
        (height, width, 3) uint8 RGB, upright and on white, of those that it reads.
    """
    if program == "Chromium":
        with ThreadPoolExecutor(1) as own:  # Playwright runs once a thread, and the thread may have another running
            return own.submit(lambda: dict(_chromium(files))).result()
    run = {"ImageMagick": _imagemagick, "libvips": _libvips, "libheif": _libheif, "dcmtk": _dcmtk}[program]
    with TemporaryDirectory() as name:
        folder = Path(name)
        given = {}
        for i, (key, data) in enumerate(files.items()):
            given[key] = folder / f"{i}.given"
            given[key].write_bytes(data)
        run(folder, dict(zip(given.values(), files.values(), strict=True)))
        made = {key: sorted(folder.glob(f"{path.stem}.made*")) for key, path in given.items()}
        found = {}
        for key, paths in made.items():
            with suppress(OSError):  # nothing was written, or nothing that is a picture
                found[key] = _rgb(paths[0]) if paths else None
        return {key: pixels for key, pixels in found.items() if pixels is not None}


def _rgb(path: Path) -> np.ndarray:
    """Return the RGB of a picture of 8 bits, on white."""
    image = Image.open(path)
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    layers = np.asarray(image.convert("RGBA")).astype(float)
    alpha = layers[..., 3:] / 255
    return np.rint(layers[..., :3] * alpha + np.array(BACKGROUND) * (1 - alpha)).astype(np.uint8)


def _run(*command: str | Path) -> None:
    subprocess.run(command, capture_output=True, timeout=_SECONDS)


def _has_profile(data: bytes) -> bool:
    return b"acsp" in data or b"iCCP" in data


def _imagemagick(folder: Path, files: Mapping[Path, bytes]) -> None:
    srgb = folder / "srgb.icc"
    srgb.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    seen = ("-background", "white", "-alpha", "remove", "-alpha", "off", "-colorspace", "sRGB", "-depth", "8")
    for path, data in files.items():
        profile = ("-profile", srgb) if _has_profile(data) else ()
        kind = {"TIFF": "tiff:", "DICOM": "dcm:"}.get(format_of(data) or "", "")
        _run("convert", f"{kind}{path}[0]", "-auto-orient", *profile, *seen, f"png24:{path.with_suffix('.made')}")


def _libvips(folder: Path, files: Mapping[Path, bytes]) -> None:
    made = ("-o", "%s.made.png[strip]")
    for profile in (True, False):
        paths = [path for path, data in files.items() if _has_profile(data) == profile]
        if paths:
            _run("vipsthumbnail", *paths, "--size", "100000>", *(("--eprofile", "srgb") if profile else ()), *made)


def _libheif(folder: Path, files: Mapping[Path, bytes]) -> None:
    for path in files:
        _run("heif-convert", "--quiet", path, path.with_suffix(".made.png"))


def _dcmtk(folder: Path, files: Mapping[Path, bytes]) -> None:
    for path, data in files.items():
        file = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        tool = "dcml2pnm" if file.file_meta.TransferSyntaxUID.name.startswith("JPEG-LS") else "dcmj2pnm"
        shown = ("+Wl", "1") if file.get("VOILUTSequence") else ("+Wi", "1") if file.get("WindowWidth") else ()
        _run(tool, *shown, "--frame", "1", "--write-raw-pnm", path, path.with_suffix(".made"))


def _chromium(files: Mapping[str, bytes]) -> Iterator[tuple[str, np.ndarray]]:
    with chromium(chromium_path() or "") as browser:
        page = browser.new_page()
        for key, data in files.items():
            coded = [base64.b64encode(data).decode(), f"image/{(format_of(data) or '').lower()}"]
            with suppress(Error):
                height, width, text = page.evaluate(_IN_THE_BROWSER, coded)
                yield key, np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].copy()
