"""Writes the load of this machine, the nominal time of the run, and how late the job runs."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

meant = os.environ.get("TITAN_SCHEDULED_AT")  # not set if the pipeline was submitted by hand
now = datetime.now(UTC)
late_s = (now - datetime.fromisoformat(meant.replace("Z", "+00:00"))).total_seconds() if meant else 0.0
sample = {"for": meant or "by hand", "late_s": round(late_s, 3), "load": os.getloadavg()[0], "cpus": os.cpu_count()}
Path(os.environ["TITAN_SHARED"], "sample.json").write_text(json.dumps(sample))
