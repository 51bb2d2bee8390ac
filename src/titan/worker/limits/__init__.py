"""Limits on what an attempt uses: control groups."""
