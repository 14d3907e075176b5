"""The native API: what neither dialect has, under /v1."""
