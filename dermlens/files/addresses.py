"""Addresses of folders and stores, such as s3://bucket/folder, as they may be shown: they can hold keys."""

import re

_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


def shown_address(address: str) -> str:
    """Return an address without its options and credentials; a path of this machine as it is."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    rest = rest.partition("?")[0]
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    if _HOST.fullmatch(authority):
        return f"{scheme}://{rest}"
    return f"{scheme}://{rest.rpartition('@')[2] if '@' in rest else '...'}"  # a key with a slash or a question mark
