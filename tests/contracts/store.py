"""The suite that every store passes, in one class."""

from tests.contracts.store_access import AccessContract
from tests.contracts.store_cancellation import CancellationContract
from tests.contracts.store_changes import ChangesContract
from tests.contracts.store_credentials import CredentialsContract
from tests.contracts.store_events import EventsContract
from tests.contracts.store_history import HistoryContract
from tests.contracts.store_leases import LeasesContract
from tests.contracts.store_scan import ScanContract
from tests.contracts.store_turns import TurnsContract
from tests.contracts.store_use import UseContract
from tests.contracts.store_versions import VersionsContract
from tests.contracts.store_warnings import WarningsContract


class StoreContract(
    CredentialsContract,
    ChangesContract,
    CancellationContract,
    AccessContract,
    UseContract,
    LeasesContract,
    ScanContract,
    HistoryContract,
    VersionsContract,
    TurnsContract,
    WarningsContract,
    EventsContract,
):
    """What the core relies on, whatever database is behind it.

    A subclass brings three fixtures: `store`, a new and empty store; `replica`, another one over the same database, as
    a second process would have it; and `audit_trail`, a `tests.contracts.records.AuditTrail` that reads what the store
    has recorded.
    """
