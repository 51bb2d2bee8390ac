"""`titan scale`: the burst workers of each scaling rule, and its last decision."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from titan.cli.cells import ago_text
from titan.cli.options import json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option


@click.command()
@master_option
@wide_option
@json_option
def scale(master: str | None, as_json: bool) -> None:
    """Show the burst workers of each capability. The table also has the queued jobs, the busy
    slots, the limits and the last decision."""
    with open_client(master) as client:
        found = client.scale()
        if as_json:
            print(json.dumps([asdict(row) for row in found]))
            return
        if not found:
            print("this master starts no burst workers; to allow them: titan master --scale GENERAL=0..8")
            return
        rows = [
            (
                row.rule,
                str(row.demand),
                f"{row.used}/{row.slots}" + (f" +{row.coming}" if row.coming else ""),
                str(len(row.bursts)) + (f" -{len(row.leaving)}" if row.leaving else ""),
                f"{row.least}..{row.most}",
                row.decision + (f" ({ago_text(row.looked_at)})" if row.looked_at else ""),
            )
            for row in found
        ]
        print_table(("CAPABILITY", "QUEUED", "BUSY", "BURST", "MIN..MAX", "LAST DECISION"), rows)
