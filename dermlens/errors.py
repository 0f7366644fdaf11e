"""The errors a person can be shown: the message names what was wrong, what was received and what to do."""


class DermlensError(Exception):
    """Anything that went wrong for a reason the user can understand and act on."""


class ImageError(DermlensError):
    """The bytes are not an image that can be read safely."""


class DecoderError(ImageError):
    """The decoder was stopped from outside or did not start: nothing is known of the image."""


class DataError(DermlensError):
    """A data set, a table or a column is missing, damaged or inconsistent."""


class ModelError(DermlensError):
    """A model folder is missing, damaged or does not match this version."""


class ConfigError(DermlensError):
    """A setting is unknown, of the wrong type or out of range."""


class DownloadError(DermlensError):
    """A file could not be fetched whole and verified."""


class BusyError(DermlensError):
    """Too many others are being served; nothing is wrong with what was uploaded, and it will be accepted later."""


class RecordError(DermlensError):
    """The record cannot be opened, read or written, or this person may not do that; nothing of it was changed."""
