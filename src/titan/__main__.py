"""Entry point of `python -m titan`, which is the same as `titan`."""

from titan.cli import main

main()
