"""Folders and files of attempts: sandboxes, the cache of content, downloads."""
