"""Content-addressed blobs (SHA-256): their store (`blobs`, `directory`) and transfer (`transfer`).

Shared by master, workers and clients. Must not know the purpose of a blob, or who refers to it.
"""
