"""`python -m titan` is `titan`."""

from titan.cli import main

main()
