"""Parsing and formatting of numbers, as strict as in Redis.

In Redis, INCRBYFLOAT and HINCRBYFLOAT calculate with an x86 long double of 80 bits, whose
significand has 64 bits. Here the two commands use exact fractions, and round them to 64 bits after
each step. So the result is the same on every machine.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import inf, isnan

from titan.store.replies import NOT_FLOAT, NOT_INTEGER, NOT_POSITIVE, Error, Refusal

INT_MAX = (1 << 63) - 1
INT_MIN = -(1 << 63)
_DECIMAL = b"0123456789.eE+-"
_HEX = re.compile(rb"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?")
_NUMBER = re.compile(rb"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?")
_SIGN = re.compile(rb"^[+-]")
_INFINITE = (b"inf", b"infinity")
_MANTISSA = 64
_LARGEST = Fraction((1 << _MANTISSA) - 1) * Fraction(2) ** (16384 - _MANTISSA)
_SMALLEST = Fraction(1, 2) * Fraction(2) ** -16444
_MOST_DIGITS = 5_000
"""Maximum number of digits of a number. It also bounds the exponent; the exponents of a long double
are far below this bound."""
_AT_ONCE = 4_000
"""Number of digits that one conversion between text and integer handles; Python's limit is
4,300."""


def integer(text: bytes, error: Error = NOT_INTEGER) -> int:
    """Parse the canonical form of a signed integer of 64 bits. Raises Refusal(error).

    >>> integer(b"-12")
    -12
    """
    if text.isdigit() and len(text) < 19 and (text[0] != 48 or len(text) == 1):
        return int(text)
    try:
        number = int(text)
    except ValueError:
        raise Refusal(error) from None
    if INT_MIN <= number <= INT_MAX and b"%d" % number == text:
        return number
    raise Refusal(error)


def is_integer(text: bytes) -> bool:
    """Return whether `text` is a signed integer of 64 bits in canonical form."""
    try:
        integer(bytes(text[:21]))
    except Refusal:
        return False
    return len(text) <= 20


def positive(text: bytes) -> int:
    """Parse an integer that is at least 0. Raises Refusal with the message of Redis, which demands
    a "positive" number."""
    number = integer(text, NOT_POSITIVE)
    if number < 0:
        raise Refusal(NOT_POSITIVE)
    return number


def bounded(text: bytes, low: int, high: int, error: Error | None = None) -> int:
    """Parse an integer in `low..high`. Raises Refusal(error), by default with the messages of
    Redis."""
    number = integer(text, error or NOT_INTEGER)
    if not low <= number <= high:
        raise Refusal(error or b"ERR value is out of range, value must between %d and %d" % (low, high))
    return number


def floating(text: bytes, error: Error = NOT_FLOAT) -> float:
    """Parse a double like strtod of C: decimal, hexadecimal or infinite, but not NaN. Raises
    Refusal(error).

    >>> floating(b"0x1p3"), floating(b"-inf")
    (8.0, -inf)
    """
    if text.isdigit() and len(text) < 16:
        return float(text)
    try:
        if not text.strip(_DECIMAL):
            number = float(text)
            if number in (inf, -inf) or (number == 0.0 and text.partition(b"e")[0].partition(b"E")[0].strip(b"0.+-")):
                raise Refusal(error)  # too large, or too small to differ from zero
            return number
        if _SIGN.sub(b"", text.lower()) in _INFINITE:
            return float(text)
        if _HEX.fullmatch(text):
            return float.fromhex(text.decode("ascii"))
    except (ValueError, OverflowError):
        pass
    raise Refusal(error)


def bound(text: bytes, error: Error) -> float:
    """Parse a bound of a range of scores, or a weight of SORT. Like strtod of C, ignore everything
    after a zero byte. Raises Refusal(error)."""
    shown = text.partition(b"\0")[0]
    if not shown:
        return 0.0
    shown = shown.lstrip(b" \t\n\v\f\r")
    if not shown.strip(_DECIMAL):
        try:
            return float(shown)
        except ValueError:
            raise Refusal(error) from None
    return floating(shown, error)


def extended(text: bytes, error: Error = NOT_FLOAT) -> Fraction | None:
    """Parse a long double. Return its exact value, or None if it is infinite. Raises
    Refusal(error)."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        if _HEX.fullmatch(text):
            return _rounded(Fraction(floating(text, error)))
        if _SIGN.sub(b"", text.lower()) in _INFINITE:
            return None
        raise Refusal(error)
    sign, whole, after, only, exponent = found.groups()
    digits = (whole or b"") + (after or only or b"")
    power = int(exponent[:8]) if exponent else 0
    power -= len(after or only or b"")
    if len(digits) > _MOST_DIGITS or abs(power) > 2 * _MOST_DIGITS:
        raise Refusal(error)
    number = _rounded(Fraction(_whole(digits)) * Fraction(10) ** power)
    if number > _LARGEST or (digits.strip(b"0") and number < _SMALLEST):
        raise Refusal(error)
    return -number if sign == b"-" else number


def extended_sum(first: Fraction, second: Fraction) -> Fraction | None:
    """Return the sum as a long double; None if it is infinite."""
    total = _rounded(first + second)
    return total if abs(total) <= _LARGEST else None


def extended_product(number: Fraction, factor: int) -> Fraction:
    """Return the product, rounded like a long double. It may exceed the largest long double."""
    return _rounded(number * factor)


def extended_text(number: Fraction) -> bytes:
    """Return a number with up to 17 digits after the point and no trailing zeros.

    >>> extended_text(extended_sum(extended(b"0.1"), extended(b"0.2")))
    b'0.3'
    """
    scaled, rest = divmod(abs(number.numerator) * 10**17, number.denominator)
    if 2 * rest > number.denominator or (2 * rest == number.denominator and scaled & 1):
        scaled += 1
    whole, after = divmod(scaled, 10**17)
    text = f"{_digits(whole)}.{after:017d}".rstrip("0").rstrip(".")
    return (b"-" if number < 0 and text != "0" else b"") + text.encode()


def _whole(digits: bytes) -> int:
    last = digits[-_AT_ONCE:]
    return int(last) + (10**_AT_ONCE * _whole(digits[:-_AT_ONCE]) if len(digits) > _AT_ONCE else 0)


def _digits(number: int) -> str:
    above, rest = divmod(number, 10**_AT_ONCE)
    return f"{_digits(above)}{rest:0{_AT_ONCE}d}" if above else str(rest)


def score_text(score: float) -> bytes:
    """Return a score as text for a change. Parsing the text gives the same double."""
    assert not isnan(score)
    return b"%.17g" % score if score not in (inf, -inf) else (b"inf" if score > 0 else b"-inf")


def _rounded(number: Fraction) -> Fraction:
    """Round to the nearest number with 64 significant bits, ties to even."""
    if not number:
        return number
    top = abs(number.numerator).bit_length() - number.denominator.bit_length()
    shift = _MANTISSA - top  # so that the scaled number has 64 or 65 bits
    scaled = number * Fraction(2) ** shift
    if abs(scaled) >= 1 << _MANTISSA:
        shift -= 1
        scaled /= 2
    return Fraction(round(scaled)) * Fraction(2) ** -shift
