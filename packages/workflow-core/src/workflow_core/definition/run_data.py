"""A run's data on its way into the store and back, with every error named."""

from __future__ import annotations

import inspect
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, get_origin, is_typeddict

from workflow_core.errors import DecodeError, PayloadError, PayloadTooLargeError
from workflow_core.model import Codec

__all__ = ["RunData"]

DataT = TypeVar("DataT")

_NO_CLASSES: tuple[object, ...] = (object, Any, Annotated, UnionType)  # though some look like one


class RunData(Generic[DataT]):
    """Wraps a workflow's codec. Safe to share among threads, as far as the codec is.

    Args:
        workflow: the workflow's name, for errors.
        data_type: what the codec encodes.
        codec: any.
        limit: the most bytes that are accepted.
    """

    def __init__(
        self, workflow: str, data_type: type[DataT], codec: Codec[DataT], limit: int
    ) -> None:
        self._workflow = workflow
        self._type = _concrete(data_type)
        self._codec = codec
        self._limit = limit

    def encode(self, data: Any, original: bytes | None, run_id: str) -> bytes:
        """The bytes to store; see `Workflow.encode`."""
        if self._type is not None and type(data) is not self._type:
            wanted, given = self._type.__name__, type(data).__name__
            raise PayloadError(
                f"the data is to be {wanted}, got {given}", workflow=self._workflow, run_id=run_id
            )
        try:
            encoded = self._codec.encode(data, original)
        except (DecodeError, PayloadError) as error:
            error.workflow, error.run_id = self._workflow, run_id
            raise
        except (TypeError, ValueError) as error:
            # a foreign codec's own words could hold data
            raise PayloadError(
                f"the codec refused the data with {type(error).__name__}",
                workflow=self._workflow,
                run_id=run_id,
            ) from error
        if len(encoded) > self._limit:
            raise PayloadTooLargeError(
                f"the data takes {len(encoded)} bytes, {self._limit} are allowed",
                size=len(encoded),
                limit=self._limit,
                workflow=self._workflow,
                run_id=run_id,
                hint="Keep large things elsewhere and their address here, or raise max_data_bytes",
            )
        return encoded

    def decode(self, stored: bytes, run_id: str) -> DataT:
        """The value; see `Workflow.decode`."""
        try:
            return self._codec.decode(stored)
        except DecodeError as error:
            error.workflow, error.run_id = self._workflow, run_id
            raise
        except Exception as error:
            raise DecodeError(
                f"the codec could not read the stored data: {type(error).__name__}",
                workflow=self._workflow,
                run_id=run_id,
            ) from error


def _concrete(data_type: Any) -> type | None:
    """The class that values of this type have; None where they could be of several."""
    if is_typeddict(data_type):
        return dict
    origin = get_origin(data_type) or data_type
    if not isinstance(origin, type) or origin in _NO_CLASSES or inspect.isabstract(origin):
        return None
    return origin
