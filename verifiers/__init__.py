"""Probes that ask a cloud provider whether a credential works. Knows nothing of the service around it."""
