"""Role schedulers over etcd: `etcd`, with keys of its own, and `rink`, with Rink's."""

from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.endpoints import Endpoint
from workflow_etcd_roles.line import Tls
from workflow_etcd_roles.schedulers import EtcdRoleScheduler, RinkRoleScheduler
from workflow_etcd_roles.settings import EtcdSettings, RinkSettings

__all__ = [
    "Connection",
    "Endpoint",
    "EtcdRoleScheduler",
    "EtcdSettings",
    "RinkRoleScheduler",
    "RinkSettings",
    "Tls",
]
