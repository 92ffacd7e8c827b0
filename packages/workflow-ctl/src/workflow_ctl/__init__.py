"""The command `workflow`: people's hands on an engine.

It reads and acts through the engine's verbs alone, so it can do nothing that a program could not.

- `app` has the commands together, `commands/` one module for each group of them.
- `base.Command` gives each command its common options, and turns errors into exit codes (`exits`).
- `output` prints: tables for people, one JSON document with ``--json``. Whatever comes from data is
  shown with its control characters escaped: who can choose a foreign id must not be able to move an
  operator's cursor, or to hide a line.
- `session` opens the engine when a command first needs it, and `loading` finds definitions.
- `running` serves in this process, `supervising` in several.
"""

from workflow_ctl.app import main

__all__ = ["main"]
