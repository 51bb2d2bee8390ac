"""ask.py URL NAME: sends the text NAME to the counter and prints the answer. If NAME is `total`,
asks for the sum."""

from __future__ import annotations

import sys
import urllib.request

TEXTS = {"README.md": "read me first", "LICENSE": "do what you like with it", "ARCHITECTURE.md": "one state machine"}


def main(url: str, name: str) -> None:
    request = urllib.request.Request(f"{url}/total" if name == "total" else f"{url}/count")
    if name != "total":
        request.data = TEXTS[name].encode()
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(name, answer.read().decode().strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
