"""The suite that every store passes, in one class."""

from tests.contracts.store_access import AccessContract
from tests.contracts.store_cancellation import CancellationContract
from tests.contracts.store_changes import ChangesContract
from tests.contracts.store_credentials import CredentialsContract
from tests.contracts.store_leases import LeasesContract
from tests.contracts.store_use import UseContract


class StoreContract(
    CredentialsContract, ChangesContract, CancellationContract, AccessContract, UseContract, LeasesContract
):
    """What the core relies on, whatever database is behind it.

    A subclass brings two fixtures: `store`, a new and empty store, and `audit_trail`, an
    `tests.contracts.records.AuditTrail` that reads what the store has recorded.
    """
