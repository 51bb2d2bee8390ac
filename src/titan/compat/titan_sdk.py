"""The names of the module `titan_sdk.titan_sdk`."""

from titan.compat.client import TitanClient
from titan.compat.job import TitanJob
from titan.compat.where import TITAN_HOST, TITAN_PORT

__all__ = ["TITAN_HOST", "TITAN_PORT", "TitanClient", "TitanJob"]
