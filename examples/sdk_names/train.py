"""Takes what `extract` left."""

from titan.compat import TitanClient

client = TitanClient()
print(f"trained on {client.store_get('rows')} rows of {', '.join(sorted(client.store_smembers('files')))}")
