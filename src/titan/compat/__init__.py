"""The names of the Titan SDK (`titan_sdk`). Existing programs run after their imports change.

    from titan_sdk import TitanClient, TitanJob              # before
    from titan.compat import TitanClient, TitanJob           # after

The modules have the names of the Titan SDK's: `titan.compat.titan_sdk`,
`titan.compat.titan_yaml_parser` and `titan.compat.titan_cli`. docs/migrating-from-titan.md lists
what works unchanged and what differs. New programs should use `titan.Client`, which offers more.
"""

from titan.compat.client import Accepted, TitanClient
from titan.compat.job import TitanJob
from titan.compat.titan_yaml_parser import TitanYAMLParser, UnknownKey
from titan.compat.where import TITAN_HOST, TITAN_PORT

__all__ = ["Accepted", "TITAN_HOST", "TITAN_PORT", "TitanClient", "TitanJob", "TitanYAMLParser", "UnknownKey"]
