"""What the operator says about work beside requests; the service's configuration is made of these."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WebhookSettings:
    """`[webhooks]`. An empty `url` means that nobody outside is told.

    `secret_file` holds what deliveries are signed with, as Standard Webhooks writes it: `whsec_` and base64 of 24 to 64
    bytes.
    """

    url: str = ""
    secret_file: str = ""
