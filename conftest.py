"""Loads the peers that tests run against."""

pytest_plugins: list[str] = []
