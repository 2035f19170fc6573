"""How every outside system is, as `imagesync doctor` asks them: what a connector declares of it, and what is found.

A probe asks its system as a run would, once and briefly, and changes nothing there; here its answer becomes lines for
people: whether it answers, whose account it is, how its clock goes.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.errors import ImagesyncError, error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.faults import told as fault_told
from imagesync_pipelines.sync.identity import Identity, Told, Verdict

# How long an answer may take, in seconds, and how many systems are asked at the same time.
SECONDS, PARALLEL = 10.0, 8
# Signatures of object stores and tokens do not hold where clocks differ by minutes.
CLOCK_ODD, CLOCK_WRONG = 30.0, 300.0
GIGABYTE = 10**9
SPACE_LOW, SPACE_GONE = (0.10, 10 * GIGABYTE), (0.02, GIGABYTE)


class State(StrEnum):
    """What was found: nothing to do, not in use, soon something to do, cannot be said now, something to do."""

    FINE = N_("ok")
    OFF = N_("off")
    WARNING = N_("warning")
    UNKNOWN = N_("not checked")
    WRONG = N_("wrong")


EXIT_CODES = {State.WRONG: 1, State.UNKNOWN: 2, State.WARNING: 3, State.OFF: 0, State.FINE: 0}
"""The worst state → how `imagesync doctor` ends, the worst first."""


class Finding(NamedTuple):
    """One line: what was looked at, which question, the answer, and what to do where there is something to do."""

    part: str
    check: str
    state: State
    said: str
    todo: str = ""


class Answer(NamedTuple):
    """What a system answered: in words, whose account it is, seconds its clock is ahead of ours; further lines."""

    said: str
    told: Told = ()
    ahead: float | None = None
    findings: Sequence[Finding] = ()


class NotCheckedError(ImagesyncError):
    """It cannot be asked now, and nothing says that it is wrong; the message says why."""


@dataclass(frozen=True)
class Site:
    """What probes work with. engine: our database, None where it cannot be used as it is: `why` says so."""

    shared: Settings
    engine: sa.Engine | None
    why: str = ""

    def need_engine(self) -> sa.Engine:
        """Our database. Raises NotCheckedError."""
        if self.engine is None:
            raise NotCheckedError(f"it is asked with our database at hand: {self.why}")
        return self.engine


@dataclass(frozen=True)
class Probe:
    """One outside system of a connector, and how it is asked.

    part: what people call it. ask: asks it; raises ImagesyncError, and what a database raises. place: where a person
    sets its address and credentials. url: its address, '' where it is reached without HTTP. account: its name among the
    connector's accounts; identity: whose account it is, given what the other accounts told.
    """

    part: str
    ask: Callable[[], Answer]
    place: str
    url: str = ""
    account: str = ""
    identity: Callable[[sa.Engine, Mapping[str, Told]], Identity] | None = None


def worst(findings: Iterable[Finding]) -> State:
    """The worst state of some findings."""
    found = {one.state for one in findings}
    return next((state for state in EXIT_CODES if state in found), State.FINE)


def examine(
    site: Site, probes: Mapping[str, Sequence[Probe]], declared: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """Ask the systems of all connectors, several at a time, and say what was found, in the order of the probes.

    declared: connector → account → how it is declared, where its system does not say whose it is.
    """
    every = [(connector, probe) for connector, several in probes.items() for probe in several]
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="doctor") as pool:
        asked = list(pool.map(lambda one: _asked(one[1]), every))
    told: dict[str, dict[str, Told]] = {connector: {} for connector in probes}
    for (connector, probe), answer in zip(every, asked, strict=True):
        if isinstance(answer, Answer) and probe.identity is not None:
            told[connector][probe.account] = answer.told
    found: list[Finding] = []
    for (connector, probe), answer in zip(every, asked, strict=True):
        if isinstance(answer, Finding):
            found.append(answer)
            continue
        found.append(Finding(probe.part, N_("answers"), State.FINE, answer.said))
        if probe.identity is not None:
            words = declared.get(connector, {}).get(probe.account, "")
            found.append(_whose(site, probe, answer.told, told[connector], words))
        if answer.ahead is not None:
            found.append(clock(probe.part, answer.ahead))
        found += answer.findings
    return found


def clock(part: str, ahead: float) -> Finding:
    """What is said of a clock that is so many seconds ahead of ours."""
    if abs(ahead) < CLOCK_ODD:
        return Finding(part, N_("clock"), State.FINE, languages.told("goes as ours does"))
    state = State.WRONG if abs(ahead) >= CLOCK_WRONG else State.WARNING
    said = (
        languages.told(f"is {ahead:,.0f} s ahead of ours")
        if ahead > 0
        else languages.told(f"is {-ahead:,.0f} s behind ours")
    )
    return Finding(
        part,
        N_("clock"),
        state,
        said,
        languages.told("Set the clock of this host right (NTP); where it is right, tell them."),
    )


def space(part: str, free: int, total: int) -> Finding:
    """What is said of a disk with so many bytes free."""
    said, todo = languages.told(f"{free / GIGABYTE:,.1f} of {total / GIGABYTE:,.1f} GB are free"), ""
    state = State.FINE
    for next_state, (share, floor) in ((State.WARNING, SPACE_LOW), (State.WRONG, SPACE_GONE)):
        if free < min(share * total, floor):
            state, todo = (
                next_state,
                languages.told("Make room there; docs/operating.md, 'Keeping it small', says what may go."),
            )
    return Finding(part, N_("space"), state, said, todo)


def proxies(urls: Collection[str], proxy_of: Callable[[str], str]) -> Finding:
    """By which proxies systems are reached. proxy_of: of a URL, '' for none, without its password."""
    used = sorted({proxy for url in urls if url and (proxy := proxy_of(url))})
    if not used:
        return Finding(
            N_("proxies"), languages.told("in use"), State.FINE, languages.told("none: systems are reached directly")
        )
    direct = sum(1 for url in urls if url and not proxy_of(url))
    said = languages.told(
        f"{', '.join(used)} for {len([one for one in urls if one]) - direct} systems; {direct} are reached directly"
    )
    return Finding(N_("proxies"), languages.told("in use"), State.FINE, f"{said} (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)")


def failure(part: str, check: str, error: Exception, place: str) -> Finding:
    """What is said of an error: of what people can put right its line, of any other its kind."""
    if isinstance(error, NotCheckedError) or getattr(error, "retry_after", None):
        return Finding(part, check, State.UNKNOWN, str(error), languages.told("Ask again later.") if place else "")
    said = (
        str(error)
        if isinstance(error, ImagesyncError)
        else fault_told(error, languages.told("its database")) or error_reason(error)
    )
    return Finding(
        part, check, State.WRONG, " ".join(said.split()), languages.told(f"Correct it in {place}.") if place else ""
    )


def _asked(probe: Probe) -> Answer | Finding:
    try:
        return probe.ask()
    except Exception as error:  # noqa: BLE001 - one system that cannot be asked keeps no other from it
        return failure(probe.part, N_("answers"), error, probe.place)


def _whose(site: Site, probe: Probe, told: Told, others: Mapping[str, Told], declared: str) -> Finding:
    """Whose account answered, compared with what is recorded; nothing is noted."""
    unproven = (
        languages.told(f"its system does not say whose it is; declared as {declared}")
        if declared
        else languages.told("its system does not say whose it is")
    )
    if site.engine is None or probe.identity is None:
        said = languages.told(f"not compared with what is recorded: {site.why}")
        return Finding(probe.part, N_("account"), State.UNKNOWN, said)
    try:
        judged, refusal = probe.identity(site.engine, others).judged(told)
    except Exception as error:  # noqa: BLE001 - our database may have gone meanwhile
        return failure(probe.part, N_("account"), error, probe.place)
    if refusal:
        return Finding(probe.part, N_("account"), State.WRONG, refusal)
    said = f"{judged.told_by} {judged.told}"
    words = {
        Verdict.SAME: languages.told(f"{said}, as recorded"),
        Verdict.NEW: languages.told(f"{said}; the first run that writes records it"),
    }
    return Finding(probe.part, N_("account"), State.FINE, words.get(judged.verdict, unproven))
