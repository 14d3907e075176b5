"""The TileDB v4 dialect: frozen, it is other people's contract."""
