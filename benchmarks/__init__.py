"""Programs that print figures. See README.md beside this page."""
