"""Databases behind the `Store` protocol. Sees ciphertext only."""
