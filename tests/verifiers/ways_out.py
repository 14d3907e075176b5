"""An egress with a name server of the test's own, and how its refusals are read."""

import socket

import pytest

from verifiers.egress import Egress
from verifiers.settings import EgressSettings
from verifiers.verdict import NotVerified, Outcome


class Zone:
    """A `getaddrinfo` of our own: answers from a table, a fresh list each time a name is asked for."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    def __call__(self, host, port, family=0, type=0, flags=0):  # noqa: A002 - as socket.getaddrinfo has it
        self.asked.append(host)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (one, port, 0, 0))
            if ":" in one
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]


def egress(zone=None, **settings):
    """An egress that asks `zone` for names; by default there are none."""
    return Egress(EgressSettings(**settings), getaddrinfo=zone or Zone())


async def refusal(request):
    """The verdict that a request ends with instead of an answer."""
    with pytest.raises(NotVerified) as caught:
        await request
    assert caught.value.verdict.outcome is Outcome.UNKNOWN
    return caught.value.verdict
