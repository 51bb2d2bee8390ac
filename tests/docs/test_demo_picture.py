"""docs/make_demo_picture.py draws the final content of a terminal, not the bytes that were sent to
it."""

from __future__ import annotations

import runpy
from xml.etree import ElementTree

from support.pages import ROOT

SCRIPT = runpy.run_path(str(ROOT / "docs/make_demo_picture.py"))
TEXT = "{http://www.w3.org/2000/svg}text"


def drawn(said: bytes) -> list[tuple[str | None, str | None]]:
    """Return (text, fill) of each text in the picture."""
    picture = ElementTree.fromstring(SCRIPT["draw"](SCRIPT["screen_of"](said)))
    return [(text.text, text.get("fill")) for text in picture.iter(TEXT)]


def test_overwritten_text_is_not_drawn_and_colors_are() -> None:
    said = b"1/32 done\r\x1b[2K\x1b[32m32/32\x1b[0m  a < b\r\n"
    green, white = SCRIPT["COLORS"]["green"], SCRIPT["FOREGROUND"]
    assert drawn(said) == [("$ make demo", white), ("32/32", green), ("a < b", white)]


def test_the_path_of_the_checkout_is_not_drawn() -> None:
    assert drawn(f"report: {ROOT}/report.md\r\n".encode())[1][0] == "report: ~/titan/report.md"


def test_the_picture_in_the_readme_is_of_a_run_that_completed() -> None:
    texts = [text.text or "" for text in ElementTree.parse(ROOT / "docs/demo.svg").iter(TEXT)]
    assert texts[0] == "$ make demo" and texts[-1].endswith(": 32 COMPLETED")
