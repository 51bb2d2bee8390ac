"""`make docs` builds a site without a broken link or anchor."""

from __future__ import annotations

import subprocess
import sys

from support.pages import ROOT


def test_the_site_builds_and_shows_generated_tables() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/make_site.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "build/site/docs/pipelines/index.html").read_text()
    assert "<td><code>depends_on</code></td>" in page
