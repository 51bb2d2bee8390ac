"""Counts crates each night (here: each second). Every fourth count fails, so that the history also
has failed runs."""

import os
import sys
from datetime import datetime

night = int(datetime.fromisoformat(os.environ["TITAN_SCHEDULED_AT"]).timestamp())
print(f"night {night}: {night * 7 % 100} crates")
if night % 4 == 0:
    sys.exit("the count does not come out even")
