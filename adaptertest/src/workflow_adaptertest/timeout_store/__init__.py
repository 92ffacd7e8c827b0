"""The contract of a timeout store."""

from workflow_adaptertest.idle import IdleTimerCases
from workflow_adaptertest.timeout_store.crowds import CrowdCases
from workflow_adaptertest.timeout_store.lives import LifeCases

__all__ = ["TimeoutStoreContract"]


class TimeoutStoreContract(LifeCases, CrowdCases, IdleTimerCases):
    """What every `TimeoutStore` does.

    Write ``adapter``, and ``joined_store`` where it joins a store; see `Contract`.
    """
