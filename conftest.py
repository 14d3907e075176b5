"""Loads the peers that tests run against."""

pytest_plugins = [
    "tests.peers.aws_stub",
    "tests.peers.azurite",
    "tests.peers.entra",
    "tests.peers.faults",
    "tests.peers.google",
    "tests.peers.issuer",
    "tests.peers.moto",
    "tests.peers.postgres",
    "tests.peers.postgres_line",
    "tests.peers.webhook",
]
