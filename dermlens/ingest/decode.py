"""From the bytes of one file to RGB pixels: which decoder, and its errors. Runs inside the decoding process.

No text of the file (names, EXIF, tags) and no text of a decoder's error leaves this module, since it may hold either.
"""

from collections.abc import Callable
from importlib import import_module

from PIL import Image

from dermlens.errors import ImageError
from dermlens.ingest.decoders import pillow
from dermlens.ingest.decoders.pixels import Decoded
from dermlens.ingest.formats import Limits

_PLUGINS = {"JPEG": "Jpeg", "PNG": "Png", "WebP": "WebP", "TIFF": "Tiff", "BMP": "Bmp", "AVIF": "Avif"}


def decode(data: bytes, kind: str, limits: Limits) -> Decoded:
    """Decode a file of a known format.

    Args:
        data: the whole file.
        kind: one of formats.ACCEPTED.
        limits: on its size, checked before decoding; time and memory are the process' business.

    Raises:
        ImageError: the file is damaged, holds nothing that can be shown, or is over a limit.
        MemoryError: decoding needs more memory than this process has.
    """
    if kind == "DICOM":
        from dermlens.ingest.decoders import dicom

        return guarded(lambda: dicom.decode(data, limits), kind)
    load_plugin(kind)
    return guarded(lambda: pillow.decode(data, kind, limits), kind)


def guarded(read: Callable[[], Decoded], kind: str) -> Decoded:
    """Run a decoder; whatever it raises on damaged bytes becomes one sentence that repeats nothing of them."""
    try:
        return read()
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as e:
        raise ImageError("The image has too many pixels to be read safely. Save it smaller.") from e
    except Exception as e:  # decoders raise almost anything on damaged bytes
        if "memory" in str(e).lower():
            raise MemoryError from e
        raise ImageError(f"The {kind} image is damaged or cut off. Save or export it again.") from e


def load_plugin(kind: str) -> None:
    """Import all that decoding a format needs: in the sandbox nothing can be loaded any more."""
    if kind == "HEIC":
        from pillow_heif import register_heif_opener

        from dermlens.ingest.decoders.heif import heic  # noqa: F401

        register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    elif kind == "DICOM":
        from PIL import Jpeg2KImagePlugin, MpoImagePlugin, TiffImagePlugin  # noqa: F401 - the last is what reads EXIF

        from dermlens.ingest.decoders import dicom  # noqa: F401
    else:
        plugin = import_module(f"PIL.{_PLUGINS[kind]}ImagePlugin")
        if kind == "JPEG":
            import_module("PIL.MpoImagePlugin")
        if kind in ("WebP", "AVIF"):
            from dermlens.ingest.decoders import opencv  # noqa: F401
        if kind == "AVIF":
            from dermlens.ingest.decoders.heif import avif  # noqa: F401

            plugin.DEFAULT_MAX_THREADS = 1  # type: ignore[attr-defined]
