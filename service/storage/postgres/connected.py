"""What the parts of the store on PostgreSQL have in common."""

from service.storage.postgres.database import Database


class Connected:
    """Has a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
