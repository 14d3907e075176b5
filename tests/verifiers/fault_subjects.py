"""What the fault matrix is about: every probe and every lease that calls out, and where each is asked."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.peers.aws_stub import ASSUMED_ROLE, Scripted, s3_error, sts_error
from tests.peers.azure_stub import ACCOUNT, LISTING, error_body
from tests.peers.google import BAD_TIME, pem, rsa_key
from verifiers import aws_key, azure_key, azure_sas, azure_service_principal, gcp_hmac, gcp_service_account
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_role import make_verifier
from verifiers.base import Payload, Run, Verifier, verify
from verifiers.egress import Egress
from verifiers.lease_terms import LeaseScope, LeaseTerms, Material
from verifiers.leasing import lease
from verifiers.names import GetAddressInfo
from verifiers.settings import AwsSettings, AzureSettings, EgressSettings, GcpSettings, ProviderSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import Report

SECRET = "bm90LWZvci1hbnlib2R5cy1leWVz"
TOKEN = "canary-of-an-access-token"
ISSUED = "tenant:42"


@dataclass(frozen=True)
class Subject:
    """A verifier and a credential for it, and what has been answered before the fault comes.

    Attributes:
        verifier: whose probe or lease it is.
        values: the credential.
        endpoint: the field in which the caller names the host, if one does.
        first: answers before the fault.
        terms: of the lease, if it is about one.
        aws: settings beside the endpoints.
        refusal: what this provider says of a good credential if the clocks differ; a plain 400 where no time is sent.
    """

    verifier: Verifier
    values: Mapping[str, Any] = field(repr=False)
    endpoint: str | None = None
    first: tuple[Scripted, ...] = ()
    terms: LeaseTerms = field(default_factory=lambda: LeaseTerms(900, None, "vouch-matrix"))
    aws: Mapping[str, Any] = field(default_factory=dict)
    refusal: Scripted | None = None

    @property
    def key(self) -> tuple[str, str]:
        """As the registry has it."""
        return self.verifier.kind.provider, self.verifier.kind.type

    def payload(self, url: str) -> Payload:
        """The credential; where the caller names the host, it is this one."""
        values = {**self.values, self.endpoint: url} if self.endpoint else self.values
        return self.verifier.kind.split(self.verifier.kind.schema().load(values))

    def run(self, egress: Egress, url: str) -> Run:
        """A run in which everything that could be asked is at `url`; the operator's hosts refuse if the caller's is."""
        at = "http://127.0.0.1:1" if self.endpoint else url
        elsewhere = dict.fromkeys(self.aws.get("other_sts_endpoints", {}), at)
        aws = {**self.aws, "sts_endpoint": at, "s3_endpoint": at, "other_sts_endpoints": elsewhere}
        settings = ProviderSettings(
            aws=AwsSettings(**aws),
            gcp=GcpSettings(token_uri=f"{at}/token", sts_endpoint=f"{at}/sts", storage_endpoint=at),
            azure=AzureSettings(authority=at, blob_endpoint=at),
        )
        return Run(egress, settings, issued_external_id=ISSUED)


def nowhere(*_args: object, **_how: object) -> list[Any]:
    """A name server that knows no names."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def probed(
    subject: Subject,
    url: str,
    *,
    deadline: float = 5.0,
    allow: tuple[str, ...] = ("127.0.0.1",),
    names: GetAddressInfo = nowhere,
) -> Report:
    """Verify, with a way out of its own."""
    async with Egress(EgressSettings(allow=allow), getaddrinfo=names) as egress:
        return await verify(subject.verifier, subject.payload(url), subject.run(egress, url), deadline)


async def leased(subject: Subject, url: str, *, deadline: float = 5.0) -> Material:
    """Lease, with a way out of its own. Raises what a lease raises."""
    async with Egress(EgressSettings(allow=("127.0.0.1",)), getaddrinfo=nowhere) as egress:
        run = subject.run(egress, url)
        return await lease(subject.verifier, subject.payload(url), subject.terms, run, deadline)


def key_file(**changes: Any) -> str:
    """A key file of Google's."""
    file = {
        "type": "service_account",
        "project_id": "proj-7",
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": pem(rsa_key(0)),
        "client_email": "etl@proj-7.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(file | changes)


def _azure_error(code: str) -> Scripted:
    return Scripted(403, error_body(code), {"x-ms-error-code": code})


AWS_KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET}
AZURE_KEY = {"account_name": "vouchtests", "account_key": SECRET}
AZURE_SAS = {
    "account_name": "vouchtests",
    "sas_token": f"sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2099-01-01T00:00:00Z&sig={SECRET}",
}
PRINCIPAL = {
    "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "client_id": "82195c37-7497-458c-b643-f4a3d0a64190",
    "client_secret": SECRET,
}
ROLE = {"role_arn": "arn:aws:iam::123456789012:role/data/reader", "external_id": ISSUED}
HMAC = {"access_key_id": "GOOG1EXAMPLE", "secret_access_key": SECRET}
ASSUMING = make_verifier(ServiceIdentity(lambda: Keys("AKIASERVICE", SECRET)))
SERVICE_ACCOUNT = gcp_service_account.VERIFIER

_STS_SKEW = sts_error("SignatureDoesNotMatch")
_S3_SKEW = s3_error("SignatureDoesNotMatch")
_BLOB_SKEW = _azure_error("AuthenticationFailed")
_GOOGLE_SKEW = Scripted(400, json.dumps({"error": "invalid_grant", "error_description": BAD_TIME}))

PROBES = {
    "aws key": Subject(aws_key.VERIFIER, AWS_KEY, refusal=_STS_SKEW),
    "aws key at an endpoint": Subject(aws_key.VERIFIER, AWS_KEY, "endpoint", refusal=_S3_SKEW),
    "aws role": Subject(ASSUMING, ROLE, refusal=_STS_SKEW),
    "azure key": Subject(azure_key.VERIFIER, AZURE_KEY, refusal=_BLOB_SKEW),
    "azure key at an endpoint": Subject(azure_key.VERIFIER, AZURE_KEY, "blob_endpoint", refusal=_BLOB_SKEW),
    "azure sas": Subject(azure_sas.VERIFIER, AZURE_SAS, refusal=_BLOB_SKEW),
    "azure sas at an endpoint": Subject(azure_sas.VERIFIER, AZURE_SAS, "blob_endpoint", refusal=_BLOB_SKEW),
    "azure service principal": Subject(azure_service_principal.VERIFIER, PRINCIPAL),
    "gcp hmac": Subject(gcp_hmac.VERIFIER, HMAC, refusal=_S3_SKEW),
    "gcp service account": Subject(SERVICE_ACCOUNT, {"key_text": key_file()}, refusal=_GOOGLE_SKEW),
}
"""The fault is the answer to the first call."""

_GRANTED = Scripted(200, json.dumps({"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN}))
_CHINA_TOO = {"other_sts_endpoints": {"aws-cn": ""}}

UNPROVEN = {
    "aws key, after one partition did not know it": Subject(
        aws_key.VERIFIER, AWS_KEY, first=(sts_error("InvalidClientTokenId"),), aws=_CHINA_TOO
    ),
    "aws key at an endpoint of another region": Subject(
        aws_key.VERIFIER,
        AWS_KEY,
        "endpoint",
        first=(s3_error("AuthorizationHeaderMalformed", 400, "<Region>eu-west-1</Region>"),),
    ),
    "aws key at an endpoint that denies it": Subject(
        aws_key.VERIFIER, AWS_KEY, "endpoint", first=(s3_error("AccessDenied"),)
    ),
    "gcp hmac that is denied": Subject(gcp_hmac.VERIFIER, HMAC, first=(s3_error("AccessDenied"),)),
}
"""The fault is the answer to the second call, and nothing has been proved by the first."""

PROVEN = {
    "aws role, asked for without its external id": Subject(ASSUMING, ROLE, first=(Scripted(200, ASSUMED_ROLE),)),
    "azure key, its account": Subject(azure_key.VERIFIER, AZURE_KEY, first=(Scripted(200, LISTING),)),
    "azure sas, its list": Subject(azure_sas.VERIFIER, AZURE_SAS, first=(Scripted(200, "", ACCOUNT),)),
    "azure service principal, its list": Subject(
        azure_service_principal.VERIFIER, {**PRINCIPAL, "account_name": "vouchtests"}, first=(_GRANTED,)
    ),
}
"""The fault is the answer to the second call; the credential has been proved by the first."""

_AS_ROLE = LeaseTerms(900, None, "vouch-matrix", role_arn=ROLE["role_arn"], external_id=ISSUED)
_NARROW = LeaseTerms(900, LeaseScope("lake", "data/"), "vouch-matrix")
_INSISTING = {"require_issued_external_id": True}

LEASES = {
    "aws key": Subject(aws_key.VERIFIER, AWS_KEY),
    "aws key, after one partition did not know it": Subject(
        aws_key.VERIFIER, AWS_KEY, first=(sts_error("InvalidClientTokenId"),), aws=_CHINA_TOO
    ),
    "aws key, assuming a role": Subject(aws_key.VERIFIER, AWS_KEY, terms=_AS_ROLE),
    "aws role": Subject(ASSUMING, ROLE),
    "aws role, asked for without its external id": Subject(ASSUMING, ROLE, aws=_INSISTING),
    "aws role that insists on it": Subject(ASSUMING, ROLE, first=(sts_error("AccessDenied"),), aws=_INSISTING),
    "gcp service account": Subject(SERVICE_ACCOUNT, {"key_text": key_file()}),
    "gcp service account, narrowing": Subject(
        SERVICE_ACCOUNT, {"key_text": key_file()}, first=(_GRANTED,), terms=_NARROW
    ),
}
"""Leases that call out."""

_CONTAINER = LeaseTerms(900, LeaseScope("lake"), "vouch-matrix")

OFFLINE_LEASES = {
    "azure key": Subject(azure_key.VERIFIER, AZURE_KEY, terms=_CONTAINER),
    "azure key at an endpoint": Subject(azure_key.VERIFIER, AZURE_KEY, "blob_endpoint", terms=_CONTAINER),
    "azure sas": Subject(azure_sas.VERIFIER, AZURE_SAS, terms=LeaseTerms(3_000_000_000, None, "vouch-matrix")),
}
"""Leases that call nobody."""
