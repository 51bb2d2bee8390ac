"""Receives the webhook of a gate, checks the signature of the master, and prints how to decide.

    python3 receiver.py SECRET_FILE [PORT]

SECRET_FILE is webhook.secret in the master's home; PORT is 8099 by default.

A webhook comes at least once: a second message about one gate may have another token, which is
valid too. The program needs nothing but Python.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

OLDEST_S = 300
"""An older message is refused, because it may be a copy that an attacker replays."""
LARGEST = 1 << 20


class Receiver(BaseHTTPRequestHandler):
    secret_file: Path

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size) if size <= LARGEST else b""
        code = 204 if self._is_signed(body) else 403
        self.send_response(code)
        self.end_headers()
        if code == 204:
            gate = json.loads(body)
            until = time.strftime("%d %b %H:%M", time.localtime(gate["expires"]))
            print(f"{gate['run']}/{gate['job']}: {gate['message']} (until {until})")
            print(f"  titan approve --token {gate['token']}", flush=True)
            print(f"  titan reject --token {gate['token']}", flush=True)

    def _is_signed(self, body: bytes) -> bool:
        at = self.headers.get("x-titan-timestamp", "")
        if not at.isdigit() or abs(time.time() - int(at)) > OLDEST_S:
            return False
        secret = self.secret_file.read_bytes().strip()
        mac = hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(self.headers.get("x-titan-signature", ""), f"sha256={mac}")

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    Receiver.secret_file = Path(sys.argv[1])
    server = HTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 8099), Receiver)
    print(f"listening on port {server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
