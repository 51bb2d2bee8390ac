"""Counts words. POST /count with a text counts its words, GET /total returns the sum. Listens at
TITAN_PORT."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

total = 0


class Counter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer("fine" if self.path == "/healthz" else f"{total} words in all")

    def do_POST(self) -> None:
        global total
        words = len(self.rfile.read(int(self.headers["Content-Length"])).split())
        total += words
        self._answer(f"{words} words")

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        print(self.command, self.path, flush=True)


if __name__ == "__main__":
    # For workers on several machines, listen on every address: "" instead of 127.0.0.1.
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["TITAN_PORT"])), Counter).serve_forever()
