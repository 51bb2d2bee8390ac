"""Shared vocabulary: typed, immutable data that all other packages use. This package imports
nothing from Titan except `titan.errors`."""
