"""Request ids, logs without secrets, limits."""
