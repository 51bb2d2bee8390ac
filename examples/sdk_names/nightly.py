"""A program written for the Titan SDK, with one import changed: two jobs that exchange data through
the store. The program waits for their end."""

import sys
import time
from pathlib import Path

from titan.compat import TitanClient, TitanJob  # was: from titan_sdk import TitanClient, TitanJob

here = Path(__file__).parent
client = TitanClient()  # the master at TITAN_HOST and TITAN_PORT
jobs = [
    TitanJob(job_id="extract", filename=str(here / "extract.py"), args="12", priority=5, delay=100),
    TitanJob(job_id="train", filename=str(here / "train.py"), parents=["extract"], affinity=True),
]
print(client.submit_dag("nightly", jobs, agent_run_id="sdk-example"))
while client.get_job_status("train") not in ("COMPLETED", "FAILED", "DEAD", "CANCELLED"):
    time.sleep(0.1)
print(client.get_job_status("extract"), client.get_job_status("DAG-train"))
print(client.fetch_logs("train"), end="")
sys.exit(client.get_job_status("train") != "COMPLETED")
