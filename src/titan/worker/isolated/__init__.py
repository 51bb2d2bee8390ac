"""Code of the warden and the function runner: processes that run code of users, or that start and
kill processes with such code.

These files import no other part of Titan, because they run as `python -I -S warden.py` with only
this folder added to the path.
"""
