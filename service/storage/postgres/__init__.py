"""The store on PostgreSQL, for as many replicas as there are. Needs asyncpg: the extra `postgres`."""
