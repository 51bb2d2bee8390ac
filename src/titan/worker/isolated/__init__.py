"""Code of processes that run users' code or manage those that do: the warden and the function
runner.

These files import nothing of Titan but each other, because they run as `python -I -S warden.py`
with this folder on the path.
"""
