"""TitanStore."""
