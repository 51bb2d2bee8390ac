"""Content by its SHA-256: the store that holds it (`blobs`, `directory`) and the one way in which
it travels (`transfer`).

Shared by master, workers and clients. Must not know what a blob is for, nor who refers to it.
"""
