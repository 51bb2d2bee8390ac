"""Folders and files of attempts: sandboxes, the content cache, downloads."""
