"""What a run of pytest found out about each class that certifies an adapter, and in which words.

A class is *certified* when every case of its contract was run and none failed but those that it
declares. Whatever leaves a case out, an option of the command line or a skip in ``adapter()``,
makes it *incomplete*; nothing is left out of the count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from workflow_core.ports import Capability

from workflow_adaptertest.contract import Contract, cases_of
from workflow_adaptertest.facts import Facts

__all__ = ["Book", "Certificate", "Finding", "Kind", "Verdict"]


class Kind(Enum):
    """What came of one case."""

    PASSED = "passed"
    NOT_APPLICABLE = "not applicable"
    WORKS_UNCLAIMED = "works though not claimed"
    KNOWN_FAILURE = "known failure"
    WARNED = "fails what will be mandatory"
    SKIPPED = "skipped"
    EXCUSED = "excused, and no known failure"
    FAILED = "failed"


class Verdict(Enum):
    """What may be said of the adapter."""

    CERTIFIED = "certified"
    INCOMPLETE = "INCOMPLETE"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Finding:
    """What came of one case, for one of its parameters.

    Attributes:
        case: its name.
        kind: what came of it.
        capability: the one that it is about; None: every adapter's.
        why: why it was left out or is known to fail.
        untried: nothing was found out about the capability.
    """

    case: str
    kind: Kind
    capability: Capability | None = None
    why: str = ""
    untried: bool = False


@dataclass
class Certificate:
    """All findings about one class.

    Attributes:
        cls: the class.
        findings: by the ids of pytest.
        awaited: the ids that were to be run.
        facts: what the adapter told of itself, once the case that asks for it was run.
    """

    cls: type[Contract]
    facts: Facts | None = None
    findings: dict[str, Finding] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)

    @property
    def verdict(self) -> Verdict:
        """Failed, incomplete or certified, the worst that is true."""
        kinds = {finding.kind for finding in self.findings.values()}
        if kinds & {Kind.FAILED, Kind.EXCUSED}:
            return Verdict.FAILED
        if Kind.SKIPPED in kinds or any(self.not_run()):
            return Verdict.INCOMPLETE
        return Verdict.CERTIFIED

    def of(self, kind: Kind) -> list[Finding]:
        """The findings of that kind."""
        return [finding for finding in self.findings.values() if finding.kind is kind]

    def not_run(self) -> Iterator[str]:
        """Cases of the contract, or single ones of their parameters, that nothing is known of."""
        found = {finding.case for finding in self.findings.values()}
        yield from sorted(cases_of(self.cls) - found)
        yield from sorted(
            node
            for node in self.awaited - set(self.findings)
            if node.rpartition("::")[2].partition("[")[0] in found
        )

    def works_unclaimed(self) -> list[Capability]:
        """Capabilities that the adapter could claim: it passes all their cases."""
        tried: dict[Capability, set[Kind]] = {}
        for finding in self.findings.values():
            if finding.capability is not None and not finding.untried:
                tried.setdefault(finding.capability, set()).add(finding.kind)
        works = [each for each, kinds in tried.items() if kinds == {Kind.WORKS_UNCLAIMED}]
        return sorted(works, key=lambda each: each.name)

    def lines(self) -> Iterator[str]:
        """The verdict in words."""
        counts = Counter(finding.kind for finding in self.findings.values())
        told = [f"{counts[kind]} {kind.value}" for kind in Kind if counts[kind]]
        missing = list(self.not_run())
        if missing:
            told.append(f"{len(missing)} of {len(cases_of(self.cls))} cases not run")
        yield (
            f"{self.cls.__name__} ({self.cls.port}): {self.verdict.value}: "
            f"{', '.join(told) or 'no case'}"
        )
        reasons = Counter(each.why for each in self.of(Kind.NOT_APPLICABLE))
        for why, count in sorted(reasons.items()):
            yield f"  not applicable, {count}: {why}"
        for kind in (Kind.KNOWN_FAILURE, Kind.WARNED, Kind.EXCUSED):
            for finding in self.of(kind):
                yield f"  {kind.value}: {finding.case}: {finding.why}"
        skips = Counter(each.why for each in self.of(Kind.SKIPPED))
        for why, count in sorted(skips.items()):
            yield f"  skipped, {count}: {why}"
        if missing and len(missing) < len(cases_of(self.cls)) / 2:
            yield f"  not run: {', '.join(missing)}"
        for capability in self.works_unclaimed():
            yield f"  {capability.name} is not claimed, but all its cases pass: claim it"


@dataclass
class Book:
    """The certificates of one run.

    Attributes:
        certificates: by class, in the order in which they were met.
        narrowed: the person who runs it asked for a part of the cases.
    """

    certificates: dict[type[Contract], Certificate] = field(default_factory=dict)
    narrowed: bool = False

    def certificate(self, cls: type[Contract]) -> Certificate:
        """The class's, made when it is first asked for."""
        return self.certificates.setdefault(cls, Certificate(cls))

    def told(self) -> list[Certificate]:
        """Those of which anything is known."""
        return [each for each in self.certificates.values() if each.findings]

    def complaints(self) -> Mapping[str, str]:
        """What must turn the run red although no test is: by class name, in words."""
        complaints: dict[str, str] = {}
        for cls, certificate in self.certificates.items():
            excused = [finding.case for finding in certificate.of(Kind.EXCUSED)]
            if excused:
                complaints[cls.__name__] = (
                    f"{', '.join(excused)}: excused at run time; known_failures is the place"
                )
            elif not self.narrowed and (missing := list(certificate.not_run())):
                complaints[cls.__name__] = f"collected, but never run: {', '.join(missing)}"
        return complaints
