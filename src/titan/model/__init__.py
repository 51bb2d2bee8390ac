"""The vocabulary: typed, immutable data that every other part speaks. Imports nothing of ours but
the errors."""
