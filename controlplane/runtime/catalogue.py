"""Every metric of Loadstar: its name, unit, labels and meaning. `docs/telemetry.md` is written from
here (`python -m controlplane.runtime.catalogue`), and what is exported, drawn on a dashboard or
alarmed on is checked against it.

Labels have few values: roles, versions, actions and kinds that stand in this code or in OCPP's
schemas. What a peer can make up is never one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from controlplane.runtime.metrics import Kind, Metric

__all__ = ["BY_NAME", "CATALOGUE", "PROCESS_LABEL", "page"]

PROCESS_LABEL: Final = "process"
"""Every series has it: `supervisor`, `gateway`, `host-0` and so on; the names stay when a process
is replaced."""

_LATENCY: Final = (0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ANSWERS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0)

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

# --- processes ------------------------------------------------------------------------------------

BUILD_INFO = Metric(
    "loadstar.build.info", _G, "{build}", "1, with the version that runs.", ("version",)
)
PROCESS_UP = Metric(
    "loadstar.process.up",
    _G,
    "{process}",
    "Whether the process answered in time when its metrics were asked for: 1 or 0.",
)
PROCESS_CPU = Metric("loadstar.process.cpu.time", _C, "s", "Processor time, user and system.")
PROCESS_MEMORY = Metric("loadstar.process.memory.usage", _G, "By", "Resident memory.")
PROCESS_DESCRIPTORS = Metric(
    "loadstar.process.open_descriptors", _G, "{descriptor}", "Open file descriptors."
)
PROCESS_DESCRIPTORS_MAX = Metric(
    "loadstar.process.open_descriptors.max", _G, "{descriptor}", "How many it may have open."
)
HEARTBEAT_LAG = Metric(
    "loadstar.process.heartbeat.lag",
    _H,
    "s",
    "How late the event loop takes up a timer: what everything else there waits, too.",
    bounds=_LATENCY,
)
REPLACED = Metric(
    "loadstar.node.processes.replaced",
    _C,
    "{process}",
    "Hosts and gateways of this node that were started anew after they had ended or fallen silent.",
)

# --- stations at the gateway ----------------------------------------------------------------------

CONNECTIONS = Metric(
    "loadstar.gateway.connections", _G, "{connection}", "Connected stations.", ("version",)
)
HANDSHAKES_OPEN = Metric(
    "loadstar.gateway.handshakes.open", _G, "{handshake}", "Handshakes that are not over."
)
HANDSHAKES = Metric(
    "loadstar.gateway.handshakes.failed",
    _C,
    "{handshake}",
    "Sockets that did not become a connection: `unauthorised` station, `address` with too many "
    "sockets, `tls` refused, `malformed` request, `timed_out`, `dropped` for another one.",
    ("reason",),
    values=("unauthorised", "address", "tls", "malformed", "timed_out", "dropped"),
)
SOCKETS = Metric("loadstar.gateway.sockets.accepted", _C, "{socket}", "Sockets that came in.")
PASSWORDS = Metric(
    "loadstar.gateway.passwords.computed", _C, "{password}", "Passwords that were hashed to check."
)
FRAMES_RECEIVED = Metric(
    "loadstar.ocpp.frames.received", _C, "{frame}", "Frames of stations, of all kinds."
)
FRAMES_SENT = Metric("loadstar.ocpp.frames.sent", _C, "{frame}", "Frames to stations.")
FRAMES_REFUSED = Metric(
    "loadstar.ocpp.frames.refused",
    _C,
    "{frame}",
    "Frames that break OCPP-J or their schema, by the error code that says how; `other` where "
    "there is none.",
    ("version", "code"),
)
CALLS = Metric(
    "loadstar.ocpp.calls.received",
    _C,
    "{call}",
    "CALLs of stations that passed their schema.",
    ("version", "action"),
)
CALL_DURATION = Metric(
    "loadstar.ocpp.call.duration",
    _H,
    "s",
    "From a station's CALL, once it is its turn, to the answer on the socket; the commit is in it.",
    bounds=_LATENCY,
)
CALLS_PENDING = Metric(
    "loadstar.ocpp.calls.pending", _G, "{call}", "CALLs of stations without an answer yet."
)
CALLS_AHEAD = Metric(
    "loadstar.ocpp.calls.ahead", _G, "{call}", "CALLs that stations sent before their turn."
)
CALL_OLDEST = Metric(
    "loadstar.ocpp.call.oldest", _G, "s", "How long the oldest CALL has been waiting; 0 for none."
)
CALL_ERRORS = Metric(
    "loadstar.ocpp.call_errors.sent",
    _C,
    "{answer}",
    "CALLERRORs of actors to stations, by code; `other` for a code that OCPP does not have.",
    ("code",),
)
COMMANDS = Metric(
    "loadstar.ocpp.commands",
    _C,
    "{command}",
    "CALLs to stations that are over: `answered` with CALLRESULT, `error`, `malformed` answer, "
    "`unanswered`, `overflow` of what may wait for a station.",
    ("action", "result"),
)
COMMAND_DURATION = Metric(
    "loadstar.ocpp.command.duration",
    _H,
    "s",
    "From a CALL on the socket to the station's answer.",
    ("action",),
    bounds=_ANSWERS,
)
COMMANDS_STALE = Metric(
    "loadstar.gateway.stale_commands",
    _C,
    "{command}",
    "What hosts sent under an epoch that is over; refused.",
)
READS_HELD = Metric(
    "loadstar.gateway.reads.held",
    _C,
    "{hold}",
    "Times that a station's socket was left unread: `flood` of frames, `crowded` with CALLs sent "
    "ahead, `behind` is its host.",
    ("reason",),
    values=("flood", "crowded", "behind"),
)
NOTICES_LEFT_OUT = Metric(
    "loadstar.gateway.notices.left_out",
    _C,
    "{notice}",
    "Security notices that were too many to be passed on.",
)
LINKS = Metric("loadstar.gateway.links", _G, "{link}", "Hosts that the gateway is linked to.")
LINKS_FULL = Metric(
    "loadstar.gateway.links.full", _G, "{link}", "Of these, how many take nothing more just now."
)

SHED = Metric(
    "loadstar.gateway.shed",
    _C,
    "{message}",
    "What gave way while a host was behind: a `heartbeat` answered in its place, a `sample` that "
    "the station was asked to send again later.",
    ("kind",),
    values=("heartbeat", "sample"),
)
CREDITS_USED = Metric(
    "loadstar.gateway.credits.used", _G, "{call}", "CALLs that are at hosts, unanswered."
)
CREDITS_WAITING = Metric(
    "loadstar.gateway.credits.waiting", _G, "{call}", "CALLs that wait for a credit of their host."
)
SOCKETS_UNREAD = Metric(
    "loadstar.gateway.sockets.unread",
    _C,
    "{socket}",
    "Sockets that were closed because their stations did not read their answers.",
)
NEWS_HELD = Metric(
    "loadstar.gateway.news.held",
    _G,
    "{message}",
    "What stations said, besides CALLs, that waits for a host to serve their shard.",
)
NEWS_DROPPED = Metric(
    "loadstar.gateway.news.dropped", _C, "{message}", "Of that, what had to make room."
)

# --- hosts ----------------------------------------------------------------------------------------

STEPS = Metric("loadstar.host.steps", _C, "{step}", "Messages that actors took.")
CRASHES = Metric(
    "loadstar.host.crashes", _C, "{step}", "Steps that raised; the actor came back from the store."
)
MAILBOX = Metric("loadstar.host.mailbox", _G, "{message}", "Messages that wait for their step.")
MAILBOX_MAX = Metric(
    "loadstar.host.mailbox.max", _G, "{message}", "Beyond this, senders are made to wait."
)
ACTORS = Metric("loadstar.host.actors", _G, "{actor}", "Actors on the host.", ("kind",))
ACTORS_LOADING = Metric(
    "loadstar.host.actors.loading", _G, "{actor}", "Actors that are being read from the store."
)
TIMERS = Metric("loadstar.host.timers", _G, "{timer}", "Timers of actors.")
REQUESTS_OPEN = Metric(
    "loadstar.host.requests.open", _G, "{request}", "Requests to actors without an answer yet."
)
LOOK_UPS = Metric(
    "loadstar.host.look_ups.waiting", _G, "{question}", "Questions to the store that wait."
)
PLANS_WAITING = Metric(
    "loadstar.host.plans.waiting", _G, "{plan}", "Plans that wait for the one that is worked out."
)
PLAN_DURATION = Metric(
    "loadstar.host.plan.duration",
    _H,
    "s",
    "How long a plan took to be worked out.",
    bounds=_LATENCY,
)
SENDS_SHED = Metric(
    "loadstar.host.sends.shed",
    _C,
    "{message}",
    "What wants no answer and came in numbers for an actor that is being loaded.",
)
ROWS_OPEN = Metric("loadstar.store.rows.open", _G, "{row}", "Rows that wait for their commit.")
STRAYS = Metric(
    "loadstar.host.strays",
    _C,
    "{message}",
    "Messages for shards that the host does not serve; a few while shards move.",
)
LEASE_LEFT = Metric(
    "loadstar.lease.time_left", _G, "s", "How long the host may go on without a renewal."
)
LEASE_SHARDS = Metric("loadstar.lease.shards", _G, "{shard}", "Shards that the host owns.")
LEASE_EPOCH = Metric(
    "loadstar.lease.epoch.max", _G, "{epoch}", "The highest epoch among them: claims of one shard."
)
LEASE_CLAIMS = Metric("loadstar.lease.claims", _C, "{shard}", "Shards that the host claimed.")
LEASE_RENEWALS = Metric(
    "loadstar.lease.renewals",
    _C,
    "{renewal}",
    "Renewals, by result: `renewed`, `unavailable` database, `fenced` by another host.",
    ("result",),
    values=("renewed", "unavailable", "fenced"),
)

# --- the store ------------------------------------------------------------------------------------

COMMIT_DURATION = Metric(
    "loadstar.store.commit.duration",
    _H,
    "s",
    "From handing a batch to the writer's thread to its being durable.",
    bounds=_LATENCY,
)
COMMIT_RECORDS = Metric(
    "loadstar.store.commit.records", _H, "{record}", "Records in a commit.", bounds=_SIZES
)
COMMITS_FAILED = Metric(
    "loadstar.store.commits.failed",
    _C,
    "{commit}",
    "Commits that failed: the lease or a shard was lost (`fenced`), the database is `unavailable`, "
    "or something else (`other`).",
    ("reason",),
    values=("fenced", "unavailable", "other"),
)
RECORDS = Metric(
    "loadstar.store.records", _C, "{record}", "Records that were committed.", ("kind",)
)
DATABASE_ERRORS = Metric(
    "loadstar.store.database.errors",
    _C,
    "{error}",
    "What the database's driver raised, in any process, by the class of the error.",
    ("error",),
)
EVENTS = Metric(
    "loadstar.journal.events",
    _C,
    "{event}",
    "Events that were committed to the journal.",
    ("kind",),
)

# --- sites and allocation -------------------------------------------------------------------------

ROUNDS = Metric("loadstar.site.rounds", _C, "{round}", "Allocation rounds.")
ROUND_DURATION = Metric(
    "loadstar.site.round.duration",
    _H,
    "s",
    "A step of a site in which it worked out a round.",
    bounds=_LATENCY,
)
LIMITS = Metric(
    "loadstar.site.limits.released", _C, "{limit}", "Limits that sites gave connectors."
)
ALARMS = Metric(
    "loadstar.site.alarms",
    _G,
    "{alarm}",
    "Alarms of sites that stand; `violation`: Loadstar allowed more than a rating, which must "
    "never be; `overload`: the building or a vehicle takes it.",
    ("alarm",),
    values=(
        "building_meter_stale",
        "connector_undescribed",
        "contract_exceeded",
        "guarantee_unmet",
        "limit_exceeded",
        "limit_refused",
        "meter_unreachable",
        "overload",
        "plan_late",
        "plan_refused",
        "violation",
    ),
)
ALARMS_BEGUN = Metric(
    "loadstar.site.alarms.begun",
    _C,
    "{alarm}",
    "Alarms that began.",
    ("alarm",),
    values=ALARMS.values,
)

# --- the network ----------------------------------------------------------------------------------

CHARGERS = Metric(
    "loadstar.chargers",
    _G,
    "{charger}",
    "Chargers that have an actor on the host.",
    ("state",),
    values=("online", "offline"),
)
CONNECTORS = Metric(
    "loadstar.connectors",
    _G,
    "{connector}",
    "Connectors by the status they told last; connector 0 is the charger itself and not counted.",
    ("status",),
    values=(
        "unknown",
        "available",
        "preparing",
        "charging",
        "suspended_ev",
        "suspended_evse",
        "finishing",
        "occupied",
        "reserved",
        "unavailable",
        "faulted",
    ),
)
CHARGERS_FAULTED = Metric(
    "loadstar.chargers.faulted",
    _G,
    "{charger}",
    "Chargers that say of themselves or of a connector that it is faulted.",
)
SESSIONS = Metric("loadstar.sessions.active", _G, "{session}", "Sessions that run.")
POWER = Metric(
    "loadstar.charging.power",
    _G,
    "W",
    "What sessions draw by their latest samples; import positive.",
)
ENERGY = Metric(
    "loadstar.energy.delivered", _C, "W.h", "Energy of the sessions that ended, by their registers."
)
COMMANDS_FINISHED = Metric(
    "loadstar.commands.finished",
    _C,
    "{command}",
    "What became of what operators, campaigns and Loadstar itself wanted of stations. Limits and "
    "settings are among them only where they were not accepted.",
    ("origin", "state"),
)

# --- the API and others ---------------------------------------------------------------------------

API_DURATION = Metric(
    "loadstar.api.call.duration",
    _H,
    "s",
    "gRPC calls that answer once, by method and status code.",
    ("method", "code"),
    bounds=_LATENCY,
)
API_STREAMS = Metric("loadstar.api.streams", _G, "{stream}", "Open gRPC streams of answers.")
MODBUS_READS = Metric(
    "loadstar.modbus.reads", _C, "{read}", "What became of reading building meters.", ("result",)
)
MODBUS_METERS = Metric(
    "loadstar.modbus.meters", _G, "{meter}", "Building meters, by state.", ("state",)
)
FILES = Metric("loadstar.files.uploads", _C, "{upload}", "Logs of stations.", ("result",))

CATALOGUE: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}

_PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
_TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- end of metrics -->)", re.DOTALL)


def page(text: str) -> str:
    """The page `text` with the table of all metrics brought up to date."""
    rows = ["| time series | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(
            f"| `{metric.prometheus_name}` | {metric.kind.value} | {labels} | {metric.meaning} |"
        )
    return _TABLE.sub(lambda found: found[1] + "\n".join(rows) + "\n" + found[2], text)


if __name__ == "__main__":
    _PAGE.write_text(page(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
