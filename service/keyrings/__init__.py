"""Where key-encryption keys live."""
