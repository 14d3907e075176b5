"""The DQOps dialect: frozen, it is other people's contract."""
