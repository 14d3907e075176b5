"""Google's Security Token Service and Cloud Storage on loopback: the one narrows tokens, the other holds them to it.

The exchange: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token; boundaries and their conditions:
https://cloud.google.com/iam/docs/downscoping-short-lived-credentials; the permissions of roles and of methods:
https://cloud.google.com/storage/docs/access-control/iam-roles and .../iam-json. Of CEL it knows the two forms of
condition that the second page has, joined by `||`.
"""

import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from aiohttp import web

EVERYTHING = "https://www.googleapis.com/auth/cloud-platform"
SCOPES = "https://www.googleapis.com/auth/devstorage."
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
LONGEST_BOUNDARY = 2048
MOST_RULES = 10

ROLES: Mapping[str, frozenset[str]] = {
    "roles/storage.objectViewer": frozenset({"objects.get", "objects.list"}),
    "roles/storage.objectCreator": frozenset({"objects.create"}),
    "roles/storage.legacyBucketWriter": frozenset({"buckets.get", "objects.list", "objects.create", "objects.delete"}),
}
CHANGES = frozenset({"objects.create", "objects.delete"})

_RESOURCE = re.compile(r"//storage\.googleapis\.com/projects/_/buckets/([a-z0-9._-]+)")
_RULE = frozenset({"availableResource", "availablePermissions", "availabilityCondition"})
_LITERAL = r"'(?:[^'\\\r\n]|\\[\\'])*'"
_NAMED = re.compile(rf"resource\.name\.startsWith\(({_LITERAL})\)")
_LISTED = re.compile(
    rf"api\.getAttribute\('storage\.googleapis\.com/objectListPrefix', ''\)\.startsWith\(({_LITERAL})\)"
)
_CONDITION = re.compile(rf"(?:{_NAMED.pattern}|{_LISTED.pattern})(?: \|\| (?:{_NAMED.pattern}|{_LISTED.pattern}))*")


class Malformed(Exception):
    """A boundary that the service can't take."""


def _unquoted(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal[1:-1])


@dataclass(frozen=True)
class Rule:
    """One rule of a boundary. It holds for names or list prefixes that begin so; for any if there are neither."""

    bucket: str
    permissions: frozenset[str]
    conditional: bool = False
    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> "Rule":
        """Read one of `accessBoundaryRules`, strictly."""
        bucket = _RESOURCE.fullmatch(rule["availableResource"])
        roles = [str(one).removeprefix("inRole:") for one in rule["availablePermissions"]]
        known = all(str(one).startswith("inRole:") for one in rule["availablePermissions"]) and set(roles) <= set(ROLES)
        if not bucket or not roles or not known or not set(rule) <= _RULE:
            raise Malformed
        allowed = frozenset[str]().union(*(ROLES[one] for one in roles))
        if "availabilityCondition" not in rule:
            return cls(bucket[1], allowed)
        expression = rule["availabilityCondition"]["expression"]
        if not _CONDITION.fullmatch(expression):
            raise Malformed
        names = tuple(_unquoted(one[1]) for one in _NAMED.finditer(expression))
        prefixes = tuple(_unquoted(one[1]) for one in _LISTED.finditer(expression))
        return cls(bucket[1], allowed, True, names, prefixes)

    def allows(self, permission: str, bucket: str, name: str, list_prefix: str) -> bool:
        """Whether it lets somebody do this; `name` is the resource's, `list_prefix` empty for all but lists."""
        if bucket != self.bucket or permission not in self.permissions:
            return False
        return (
            not self.conditional
            or any(name.startswith(one) for one in self.names)
            or any(list_prefix.startswith(one) for one in self.prefixes)
        )


def parse_boundary(options: str) -> tuple[Rule, ...]:
    """The rules in the `options` of an exchange."""
    try:
        content = json.loads(options)
        boundary = content["accessBoundary"]
        rules = boundary["accessBoundaryRules"]
        size = len(json.dumps(boundary, separators=(",", ":"), ensure_ascii=False))
        if set(content) != {"accessBoundary"} or size > LONGEST_BOUNDARY or not 1 <= len(rules) <= MOST_RULES:
            raise Malformed
        return tuple(Rule.parse(one) for one in rules)
    except (ValueError, KeyError, TypeError):
        raise Malformed from None


@dataclass(frozen=True)
class Rights:
    """What a token may do, and until when (seconds since the epoch). `rules` None: it is not narrowed."""

    email: str
    scope: str
    ends: float
    rules: tuple[Rule, ...] | None = None

    def allow(self, permission: str, bucket: str, *, name: str = "", list_prefix: str = "") -> bool:
        """Whether the token lets its holder do this to an object, or to the bucket if there is no name."""
        if self.scope not in {f"{SCOPES}read_only", f"{SCOPES}read_write", EVERYTHING}:
            return False
        if permission in CHANGES and self.scope == f"{SCOPES}read_only":
            return False
        resource = f"projects/_/buckets/{bucket}" + (f"/objects/{name}" if name else "")
        return self.rules is None or any(one.allows(permission, bucket, resource, list_prefix) for one in self.rules)


class SecurityTokenService:
    """The token exchange, what it was asked, and the tokens that it gave.

    `says_lifetime` false leaves `expires_in` out, as Google may.
    """

    def __init__(self, rights: dict[str, Rights]) -> None:
        self.requests: list[Mapping[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.tokens: list[str] = []
        self.says_lifetime = True
        self._rights = rights
        self._forced: tuple[int, bytes, dict[str, str]] | None = None

    def answer_with(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer everything so from now on; `body` is bytes, or goes out as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._forced = (status, sent, {"Content-Type": "application/json", **(headers or {})})

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append(form)
        self.headers.append(dict(request.headers))
        if self._forced is not None:
            status, body, headers = self._forced
            return web.Response(status=status, body=body, headers=headers)
        error = self._fault(request, form)
        if error is not None:
            return web.json_response({"error": error, "error_description": "as its name says"}, status=400)
        source = self._rights[form["subject_token"]]
        self.tokens.append(f"ya29.d.{secrets.token_urlsafe(96)}")
        self._rights[self.tokens[-1]] = replace(source, rules=parse_boundary(_options(form)))
        answer = {"access_token": self.tokens[-1], "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer"}
        left = {"expires_in": int(source.ends - time.time())} if self.says_lifetime else {}
        return web.json_response({**answer, **left})

    def _fault(self, request: web.Request, form: Mapping[str, str]) -> str | None:
        if request.content_type != "application/x-www-form-urlencoded" or "Authorization" in request.headers:
            return "invalid_request"
        if form.get("grant_type") != EXCHANGE:
            return "unsupported_grant_type"
        if not form.get("subject_token_type") == form.get("requested_token_type") == ACCESS_TOKEN:
            return "invalid_request"
        source = self._rights.get(form.get("subject_token", ""))
        if source is None or source.ends <= time.time():
            return "invalid_grant"
        try:
            parse_boundary(_options(form))
        except Malformed:
            return "invalid_request"
        return (
            "invalid_request" if source.rules is not None else None
        )  # "you cannot apply additional security attributes"


def _options(form: Mapping[str, str]) -> str:
    options = form.get("options", "")
    return options if options.startswith("{") else unquote(options)  # google-auth quotes it twice, and Google takes it


class Storage:
    """Objects by bucket and name, in the JSON API: get, list, insert and delete."""

    def __init__(self, rights: dict[str, Rights]) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self._rights = rights

    def routes(self) -> Iterable[web.RouteDef]:
        """Where it answers."""
        return (
            web.get("/storage/v1/b/{bucket}/o", self.list),
            web.get("/storage/v1/b/{bucket}/o/{name:.+}", self.get),
            web.delete("/storage/v1/b/{bucket}/o/{name:.+}", self.delete),
            web.post("/upload/storage/v1/b/{bucket}/o", self.insert),
        )

    def _require(self, request: web.Request, permission: str, *, name: str = "", list_prefix: str = "") -> str:
        rights = self._rights.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if rights is None or rights.ends <= time.time():
            raise web.HTTPUnauthorized
        bucket = request.match_info["bucket"]
        if not rights.allow(permission, bucket, name=name, list_prefix=list_prefix):
            raise web.HTTPForbidden
        return bucket

    async def list(self, request: web.Request) -> web.Response:
        """The names that begin with `prefix`."""
        prefix = request.query.get("prefix", "")
        bucket = self._require(request, "objects.list", list_prefix=prefix)
        found = sorted(name for where, name in self.objects if where == bucket and name.startswith(prefix))
        return web.json_response({"kind": "storage#objects", "items": [{"name": name} for name in found]})

    async def get(self, request: web.Request) -> web.Response:
        """The content."""
        name = request.match_info["name"]
        bucket = self._require(request, "objects.get", name=name)
        if (bucket, name) not in self.objects:
            raise web.HTTPNotFound
        return web.Response(body=self.objects[bucket, name])

    async def insert(self, request: web.Request) -> web.Response:
        """Create an object; to replace one is to delete it too."""
        name = request.query["name"]
        bucket = self._require(request, "objects.create", name=name)
        if (bucket, name) in self.objects:
            self._require(request, "objects.delete", name=name)
        self.objects[bucket, name] = await request.read()
        return web.json_response({"kind": "storage#object", "name": name})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an object."""
        name = request.match_info["name"]
        bucket = self._require(request, "objects.delete", name=name)
        if self.objects.pop((bucket, name), None) is None:
            raise web.HTTPNotFound
        return web.Response(status=204)
