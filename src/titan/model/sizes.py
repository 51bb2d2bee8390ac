"""Amounts of memory as people write them: `512MiB`, `1.5GB`, or bytes."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "": 1,
    "B": 1,
    **{f"{p}iB": 1024**i for i, p in enumerate("KMGT", 1)},
    **{f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)},
}
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
SIZE_RULE: Final = "bytes, or a number with KiB, MiB, GiB, TiB (1024) or KB, MB, GB, TB (1000), as 512MiB"


def parse_size(text: str) -> int | None:
    """Bytes; None if it is no size.

    >>> parse_size("512MiB"), parse_size("1.5 GB"), parse_size("4096"), parse_size("512M")
    (536870912, 1500000000, 4096, None)
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    unit = found[2].replace("k", "K", 1) if found[2].startswith("k") else found[2]
    if unit not in _UNITS:
        return None
    return int(float(found[1]) * _UNITS[unit]) if "." in found[1] else int(found[1]) * _UNITS[unit]


def format_size(size: int) -> str:
    """The shortest exact way to say it.

    >>> format_size(536870912), format_size(1500), format_size(1610612736)
    ('512 MiB', '1500 bytes', '1.5 GiB')
    """
    for exponent, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        amount = size / 1024**exponent
        if amount >= 1 and (amount * 100).is_integer():
            return f"{amount:g} {prefix}iB"
    return f"{size} bytes"
