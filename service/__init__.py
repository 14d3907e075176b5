"""vouch: keeps a data platform's cloud credentials, and proves that each one works."""

__version__ = "0.1.0"
