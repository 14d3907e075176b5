"""What the application carries, by typed key. Nothing else."""

from aiohttp import web

from service.auth.authenticator import Authenticator
from service.config import Config
from service.core.catalog import Catalog
from service.core.credentials import Credentials
from service.core.external_ids import ExternalIds
from service.core.lanes import Lanes
from service.core.leases import Leases
from service.core.model import Caller
from service.core.resolution import Resolution
from service.core.rotation import Rotation
from service.core.shared import SharedCredentials
from service.core.verification import Verification
from service.health import Health
from service.observe.metrics import Metrics
from verifiers.registry import Registry

CONFIG = web.AppKey("CONFIG", Config)
REGISTRY = web.AppKey("REGISTRY", Registry)
CREDENTIALS = web.AppKey("CREDENTIALS", Credentials)
SHARED = web.AppKey("SHARED", SharedCredentials)
VERIFICATION = web.AppKey("VERIFICATION", Verification)
RESOLUTION = web.AppKey("RESOLUTION", Resolution)
LEASES = web.AppKey("LEASES", Leases)
LANES = web.AppKey("LANES", Lanes)
CATALOG = web.AppKey("CATALOG", Catalog)
ROTATION = web.AppKey("ROTATION", Rotation)
EXTERNAL_IDS = web.AppKey("EXTERNAL_IDS", ExternalIds)
METRICS = web.AppKey("METRICS", Metrics)
AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)
HEALTH = web.AppKey("HEALTH", Health)

CALLER: web.RequestKey[Caller] = web.RequestKey("CALLER", Caller)
EXPECTS_CONTINUE: web.RequestKey[bool] = web.RequestKey("EXPECTS_CONTINUE", bool)
ADDRESS: web.RequestKey[str] = web.RequestKey("ADDRESS", str)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("REQUEST_ID", str)
