"""Prints the number of rows and the files that `extract` stored."""

from titan.compat import TitanClient

client = TitanClient()
print(f"trained on {client.store_get('rows')} rows of {', '.join(sorted(client.store_smembers('files')))}")
