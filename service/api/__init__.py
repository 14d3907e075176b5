"""The wire: one package for each dialect."""
