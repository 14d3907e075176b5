"""The STS endpoints that vouch may ask, one for each configured partition, and how a question to them looks.

Partitions and their regions: https://docs.aws.amazon.com/general/latest/gr/rande.html, "Partitions"; the endpoints:
https://docs.aws.amazon.com/general/latest/gr/sts.html.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlencode, urlsplit

from verifiers.settings import AwsSettings
from verifiers.sigv4 import Call

HOME_REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "aws": "us-east-1",
        "aws-cn": "cn-north-1",
        "aws-us-gov": "us-gov-west-1",
        "aws-iso": "us-iso-east-1",
        "aws-iso-b": "us-isob-east-1",
        "aws-iso-e": "eu-isoe-west-1",
        "aws-iso-f": "us-isof-south-1",
        "aws-eusc": "eusc-de-east-1",
    }
)
"""A region of each partition: what to sign for when an endpoint's name doesn't say."""

_PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "cn-": "aws-cn",
        "us-gov-": "aws-us-gov",
        "us-iso-": "aws-iso",
        "us-isob-": "aws-iso-b",
        "eu-isoe-": "aws-iso-e",
        "us-isof-": "aws-iso-f",
        "eusc-": "aws-eusc",
    }
)
_GLOBAL_HOST = "sts.amazonaws.com"
_REGION_IN_HOST = re.compile(r"(?:^|\.)sts(?:-fips)?\.([a-z]{2,8}(?:-[a-z]+)+-\d{1,2})\.")
_VERSION = "2011-06-15"
_FORM = MappingProxyType({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})


@dataclass(frozen=True)
class Sts:
    """One partition's endpoint, and the region that its signatures are made for."""

    partition: str
    url: str
    region: str

    def call(self, action: str, **fields: str) -> Call:
        """A question in the Query protocol.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/programming.html
        """
        body = urlencode({"Action": action, "Version": _VERSION, **fields}).encode("ascii")
        return Call(
            f"AWS (partition {self.partition})",
            "POST",
            self.url,
            "sts",
            self.region,
            headers=_FORM,
            body=body,
        )


def endpoints(settings: AwsSettings) -> Mapping[str, Sts]:
    """The configured endpoints by partition; the one of the configured region is the first."""
    home = partition_of(settings.region)
    url = settings.sts_endpoint.replace("{region}", settings.region)
    found = {home: Sts(home, url, _region_of(url) or settings.region)}
    for partition, template in settings.other_sts_endpoints.items():
        region = HOME_REGIONS.get(partition, settings.region)
        url = template.replace("{region}", region)
        found.setdefault(partition, Sts(partition, url, _region_of(url) or region))
    return found


def partition_of(region: str) -> str:
    """The partition that a region is in."""
    return next((partition for prefix, partition in _PREFIXES.items() if region.startswith(prefix)), "aws")


def _region_of(url: str) -> str:
    """The region that an endpoint of AWS checks signatures for; empty if its name doesn't say."""
    host = urlsplit(url).hostname or ""
    if host == _GLOBAL_HOST:
        return HOME_REGIONS["aws"]
    found = _REGION_IN_HOST.search(host)
    return found[1] if found else ""
