"""Key files that look right and are not, and how the tests ask the peer about one."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateNumbers,
    RSAPublicNumbers,
    generate_private_key,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peers.google import TokenEndpoint, pem, rsa_key
from verifiers.base import Payload, Run, verify
from verifiers.egress import Egress
from verifiers.gcp_service_account import KIND, VERIFIER
from verifiers.settings import EgressSettings, GcpSettings, ProviderSettings
from verifiers.verdict import Report

CANARY = "cAnArYsEcReT"
NO_DELAY = timedelta()


async def ask(
    google: TokenEndpoint,
    file: dict[str, Any] | Payload,
    *,
    token_uri: str = "",
    ahead: timedelta = NO_DELAY,
    deadline: float = 5.0,
) -> Report:
    """Verify a key file, or what is stored of one, against the peer, with a clock that is so much ahead."""
    settings = ProviderSettings(gcp=GcpSettings(token_uri=token_uri or google.token_uri))
    if not isinstance(file, Payload):
        file = KIND.split(KIND.schema().load({"key_text": json.dumps(file)}))
    async with Egress(EgressSettings()) as egress:
        run = Run(egress, settings, now=lambda: datetime.now(UTC) + ahead)
        return await verify(VERIFIER, file, run, deadline)


def said(report: Report) -> tuple[str, str, str]:
    """Outcome, reason and fault."""
    verdict = report.verdict
    return verdict.outcome.value, verdict.reason.value, verdict.fault.value


def checks(report: Report) -> dict[str, str]:
    """The outcome of each named check."""
    return {check.name: check.outcome.value for check in report.checks}


def _with_numbers(**changes: int) -> str:
    """The first key with other numbers of the same length in its DER: the library itself would not write it."""
    own = rsa_key(0).private_numbers()
    der = rsa_key(0).private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    for name, value in changes.items():
        old = own.public_numbers.n if name == "n" else getattr(own, name)
        length = (old.bit_length() + 7) // 8
        assert der.count(old.to_bytes(length)) == 1
        der = der.replace(old.to_bytes(length), value.to_bytes(length))
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n"


def _composite() -> str:
    """A key whose p is the product of two primes, its other numbers computed as if it were prime."""
    factors = [generate_private_key(public_exponent=65537, key_size=1024).private_numbers() for _ in range(2)]
    p, q = factors[0].p * factors[1].p, rsa_key(0).private_numbers().q
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = RSAPrivateNumbers(
        p, q, d, rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q), RSAPublicNumbers(65537, p * q)
    )
    return pem(numbers.private_key(unsafe_skip_rsa_key_validation=True))


def _damaged() -> str:
    text = pem(rsa_key(0))
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


OWN = rsa_key(0).private_numbers()
BAD_KEYS = {
    "no key at all": "-----BEGIN PRIVATE KEY-----\nTm90IGEga2V5\n-----END PRIVATE KEY-----\n",
    "one letter changed": _damaged(),
    "cut short": pem(rsa_key(0))[:800] + "\n-----END PRIVATE KEY-----\n",
    "an elliptic-curve key": ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode(),
    "a wrong exponent": _with_numbers(d=OWN.d - 2),
    "another key's modulus": _with_numbers(n=rsa_key(1).private_numbers().public_numbers.n),
    "a wrong coefficient": _with_numbers(iqmp=OWN.iqmp + 2),
    "a wrong CRT exponent": _with_numbers(dmp1=OWN.dmp1 + 2),
    "an even modulus": _with_numbers(n=OWN.public_numbers.n + 1),
    "an even prime": _with_numbers(p=OWN.p + 1),
    "a prime of nothing": _with_numbers(p=1, n=OWN.q),
    "a prime that is none": _composite(),
}
