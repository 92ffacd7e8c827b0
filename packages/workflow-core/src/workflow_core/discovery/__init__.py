"""Adapters chosen by name: entry points, the configuration's sources, and what they make.

A configuration is read from what the caller gives, from the environment and from a TOML file, is
checked whole, with all problems told at once, and only then opens anything.
"""

from workflow_core.discovery.build import Adapters
from workflow_core.discovery.config import Config
from workflow_core.discovery.entry_points import Catalogue, InstalledAdapter, adapters
from workflow_core.discovery.reader import ConfigValue
from workflow_core.discovery.ready import embedded, in_memory

__all__ = [
    "Adapters",
    "Catalogue",
    "Config",
    "ConfigValue",
    "InstalledAdapter",
    "adapters",
    "embedded",
    "in_memory",
]
