"""Programs that measure and print figures. See README.md in this folder."""
