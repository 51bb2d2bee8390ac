"""What user code calls. The public names are those of `titan`; modules in here are private."""
