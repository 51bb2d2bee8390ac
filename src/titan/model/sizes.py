"""Parsing and formatting of sizes such as `512MiB`, `1.5GB` or a number of bytes.

`parse_size` reads a limit, which needs its full unit. `size_of` reads a job's request, which may
use a short unit such as `4G`. Both use the same table of units.
"""

from __future__ import annotations

import re
from typing import Final

from titan.model.dag import MAX_MEMORY

_UNITS: Final[dict[str, int]] = {
    "": 1,
    "B": 1,
    **{f"{p}iB": 1024**i for i, p in enumerate("KMGT", 1)},
    **{f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)},
}
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_SHORT: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][0-9]{1,2})?) *([kKmMgGtT]?)((?:[iI]?[bB])?|(?<=[kKmMgGtT])[iI])")
SIZE_RULE: Final = "bytes, or a number with KiB, MiB, GiB, TiB (1024) or KB, MB, GB, TB (1000), such as 512MiB"


def parse_size(text: str) -> int | None:
    """Return the bytes; None if the text is not a size.

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


def size_of(text: str) -> int:
    """Return the bytes of a text such as `4GiB`, `1.5 G`, `512 MiB`, `100` or `1e9`.

    K, M, G and T are powers of 1024; KB, MB, GB and TB are powers of 1000. Raises ValueError with
    the problem.

    >>> size_of("4GiB"), size_of("1.5 MB"), size_of("1024"), size_of("2g")
    (4294967296, 1500000, 1024, 2147483648)
    """
    found = _SHORT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a size: give a number of bytes, or a size such as 512MiB, 4GiB, 1.5TB")
    prefix, tail = found[2].upper(), found[3].lower()
    size = float(found[1]) * _UNITS[prefix + ("B" if tail == "b" else "iB") if prefix else ""]
    if not 0 <= size <= MAX_MEMORY:
        raise ValueError(f"{text[:40]!r}: must be 0 to {size_text(MAX_MEMORY)}")
    return round(size)


def size_text(size: int) -> str:
    """Return a size as text, rounded to four digits. `format_size` is exact.

    >>> size_text(4 << 30), size_text(1536 << 20), size_text(100)
    ('4 GiB', '1.5 GiB', '100 bytes')
    """
    for prefix in "TGMK":
        factor = _UNITS[f"{prefix}iB"]
        if size >= factor:
            return f"{size / factor:.4g} {prefix}iB"
    return f"{size} byte{'s' if size != 1 else ''}"


def format_size(size: int) -> str:
    """Return the shortest exact text of a size.

    >>> format_size(536870912), format_size(1500), format_size(1610612736)
    ('512 MiB', '1500 bytes', '1.5 GiB')
    """
    for exponent, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        amount = size / 1024**exponent
        if amount >= 1 and (amount * 100).is_integer():
            return f"{amount:g} {prefix}iB"
    return f"{size} bytes"
