"""Writes a number of rows and names of files to the store."""

import sys

from titan.compat import TitanClient

client = TitanClient()
client.store_put("rows", sys.argv[1])
for name in ("a.csv", "b.csv"):
    client.store_sadd("files", name)
