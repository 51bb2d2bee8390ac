"""Signs a text with a key from the environment, which only jobs that name the secret have."""

import hashlib
import hmac
import os
import sys

signature = hmac.new(os.environb[b"API_TOKEN"], sys.argv[1].encode(), hashlib.sha256).hexdigest()
print(f"{sys.argv[1]}: {signature}")
