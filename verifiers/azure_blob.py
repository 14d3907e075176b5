"""Where the blob service of a storage account is, and how it is asked: shared by the key's verifier and the SAS's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from marshmallow import ValidationError

from verifiers.base import Payload, Run
from verifiers.egress import Answer, HostNotFound
from verifiers.verdict import Fault, NotVerified, Reason, unknown

API_VERSION = "2021-12-02"
"""The `x-ms-version` of every call. Get Account Information exists since 2018-03-28."""

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")

SERVICE_DOMAINS = (
    ".core.windows.net",
    ".core.chinacloudapi.cn",
    ".core.usgovcloudapi.net",
    ".core.cloudapi.de",
    ".blob.storage.azure.net",
)
"""Where the real service lives: the public cloud, the sovereign ones, and accounts that have a DNS zone.

Source: "Storage account overview", storage account endpoints; "Compare Azure Government and global Azure";
"Azure in China developer guide".
"""

NO_SUCH_ACCOUNT_HOST = unknown(
    Reason.UNREACHABLE,
    Fault.NETWORK,
    "The host of the storage account's blob endpoint does not resolve in DNS.",
    "Check the spelling of the account's name; if it is right, it may resolve only in a private DNS zone that "
    "vouch does not use, or be in another Azure cloud: then name its blob endpoint.",
)


def require_account(name: str) -> None:
    """Refuse what is not a storage account's name: it becomes part of a host name.

    Source: "Storage account overview", storage account name.
    """
    if not _ACCOUNT.fullmatch(name):
        raise ValidationError("Must be the storage account's name: 3 to 24 lower-case letters and digits.")


@dataclass(frozen=True)
class BlobService:
    """The blob service of one account.

    Attributes:
        origin: scheme, host and port.
        root: the path of the account itself: `/`, or `/name/` where the path names it, as emulators have it.
        resource: the path below it, without a slash at either end: empty, a container, or container and blob.
        by_caller: whether the caller named the endpoint; else it is the operator's.
    """

    origin: str
    root: str
    resource: str
    by_caller: bool

    @classmethod
    def of(cls, payload: Payload, run: Run) -> "BlobService":
        """The endpoint that the payload names, or the operator's for its account.

        The path's first segment is the account where it bears the account's name and the host does not begin with
        that name (`http://127.0.0.1:10000/devstoreaccount1`). Whatever else the path has is a resource.
        """
        account = payload["account_name"]
        named = payload["blob_endpoint"]
        url = urlsplit(named or run.settings.azure.blob_endpoint.replace("{account}", account))
        segments = [part for part in url.path.split("/") if part]
        names = (account, f"{account}-secondary")
        root = "/"
        if segments and segments[0] in names and (url.hostname or "").split(".")[0] not in names:
            root = f"/{segments.pop(0)}/"
        return cls(f"{url.scheme}://{url.netloc}", root, "/".join(segments), bool(named))

    async def get(self, run: Run, query: str, headers: Mapping[str, str], path: str = "") -> Answer:
        """GET a path below the account's root.

        Args:
            run: has the way out.
            query: goes out as it is. It may hold a SAS, so the URL is never shown or logged.
            headers: beside `x-ms-version`.
            path: without a slash at either end.

        Raises:
            NotVerified: the service could not be reached, or the guard refused the endpoint.
        """
        session = run.egress.callers if self.by_caller else run.egress.operator
        url = f"{self.origin}{self.root}{path}?{query}"
        try:
            return await session.request("GET", url, headers={"x-ms-version": API_VERSION, **headers})
        except HostNotFound:
            raise NotVerified(NO_SUCH_ACCOUNT_HOST) from None

    def is_azure(self, answer: Answer) -> bool:
        """Whether the real service answered: by its host, or by its name behind a customer's own domain.

        The service calls itself `Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0` ("List Containers", sample response).
        """
        host = (urlsplit(self.origin).hostname or "").rstrip(".")
        server = answer.headers.get("Server", "")
        return host.endswith(SERVICE_DOMAINS) or server.startswith(("Windows-Azure-Blob", "Microsoft-HTTPAPI"))
