"""Rink's keys, ranks and hashes: Go and Python members share one cluster."""

from workflow_etcd_roles.rink.rules import RinkRules

__all__ = ["RinkRules"]
