"""Roles spread evenly over the members that want them."""

from workflow_etcd_roles.etcd.rules import EtcdRules

__all__ = ["EtcdRules"]
