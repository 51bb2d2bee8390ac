"""Code of the processes that run users' code or stand beside it: the warden and the function
runner.

These files import nothing of Titan but each other, since they run as `python -I -S warden.py` with
this folder on the path.
"""
