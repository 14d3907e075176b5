"""What the operator says about providers and about the way out; the service's configuration is made of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AwsSettings:
    """`[providers.aws]`. `{region}` in an endpoint is replaced by `region`.

    `require_issued_external_id` refuses roles that insist on another external id than the workspace's own.
    """

    region: str = "us-east-1"
    sts_endpoint: str = "https://sts.{region}.amazonaws.com"
    s3_endpoint: str = "https://s3.{region}.amazonaws.com"
    other_sts_endpoints: Mapping[str, str] = field(default_factory=dict)
    require_issued_external_id: bool = False


@dataclass(frozen=True)
class GcpSettings:
    """`[providers.gcp]`. `project` is where HMAC keys list buckets; empty: in each key's own default project.

    `sts_endpoint` is where access tokens are narrowed.
    """

    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    sts_endpoint: str = "https://sts.googleapis.com/v1/token"
    storage_endpoint: str = "https://storage.googleapis.com"
    project: str = ""


@dataclass(frozen=True)
class AzureSettings:
    """`[providers.azure]`. `{account}` in the endpoint is replaced by the storage account's name."""

    authority: str = "https://login.microsoftonline.com"
    blob_endpoint: str = "https://{account}.blob.core.windows.net"


@dataclass(frozen=True)
class ProviderSettings:
    """`[providers]`: what it names is the operator's word and reachable even where callers' endpoints are not."""

    aws: AwsSettings = field(default_factory=AwsSettings)
    gcp: GcpSettings = field(default_factory=GcpSettings)
    azure: AzureSettings = field(default_factory=AzureSettings)


@dataclass(frozen=True)
class EgressSettings:
    """`[egress]`: what callers' endpoints may reach, which certificates are believed, and a proxy where a site has one.

    `allow` entries are `address:port`, `network/prefix` or `name:port`; they may be private and plain http.
    `proxy` is `http://host:port`; `no_proxy` entries are names, `.domain`, addresses or `network/prefix`.
    """

    allow: tuple[str, ...] = ()
    ports: tuple[int, ...] = (443,)
    ca_file: str = ""
    proxy: str = ""
    proxy_login_file: str = ""
    no_proxy: tuple[str, ...] = ()
    proxy_callers: bool = False
