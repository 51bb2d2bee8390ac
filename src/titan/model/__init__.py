"""Shared vocabulary: typed, immutable data that all other packages use. Imports nothing from Titan
except the errors."""
