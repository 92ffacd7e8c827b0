"""Counting runs per workflow, status and state: ended ones in their index, live ones in the table.

Ended runs are the many, and change no more: where a count asks for nothing that their index does
not hold, it is read from there alone. It is one statement, so that a run which ends meanwhile
counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, func, select, text, union_all
from sqlalchemy.sql.selectable import CompoundSelect
from workflow_core.model import RecordQuery, RunState

from workflow_sql.instants import microseconds
from workflow_sql.schema import ENDED, Tables

__all__ = ["count_statement"]

Statement: TypeAlias = Select[Any] | CompoundSelect[Any]
Conditions: TypeAlias = Callable[[RecordQuery], Sequence[ColumnElement[bool]]]

_NOT_IN_THE_INDEX = ("foreign_id", "run_ids", "created_after", "created_before", "search")


def count_statement(tables: Tables, query: RecordQuery, conditions: Conditions) -> Statement:
    """Rows of workflow, status, state and number.

    Args:
        tables: where.
        query: which.
        conditions: a query's filters on the table.
    """
    needs_rows = any(getattr(query, name) is not None for name in _NOT_IN_THE_INDEX)
    wanted = list(RunState) if query.states is None else query.states
    ended = [state for state in wanted if state.is_finished]
    live = [state for state in wanted if state.is_live]
    if needs_rows or query.drivable or not ended:
        return _in_the_table(tables, conditions(query))
    counted = _in_the_index(tables, query, ended)
    if not live:
        return counted
    living = _in_the_table(tables, conditions(query.replace(states=live)))
    return union_all(counted, living)


def _in_the_table(tables: Tables, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    columns = tables.records.c
    group = (columns.workflow, columns.status, columns.state)
    return select(*group, func.count()).where(*conditions).group_by(*group)


def _in_the_index(tables: Tables, query: RecordQuery, ended: Sequence[RunState]) -> Select[Any]:
    columns = tables.records.c
    # servers keep in columns of their own what the index is to hold of ended runs
    state = columns.get("ended_state", columns.state)
    at = columns.get("ended_at", columns.updated_at)
    status = columns.get("ended_status", columns.status)
    conditions: list[ColumnElement[bool]] = [state.in_([int(each) for each in ended])]
    if query.workflow is not None:
        conditions.append(columns.workflow == query.workflow)
    if query.statuses is not None:
        conditions.append(status.in_(query.statuses))
    if query.updated_after is not None:
        conditions.append(at > microseconds(query.updated_after))
    if query.updated_before is not None:
        conditions.append(at < microseconds(query.updated_before))
    group = (columns.workflow, status, state)
    # the text says nothing new, but lets the database see that a partial index will do
    found = select(*group, func.count()).where(text(ENDED), *conditions)
    return found.group_by(*group)
