"""Private modules of the SDK. `titan` exports the public names."""
