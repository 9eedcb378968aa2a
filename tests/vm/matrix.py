"""What runs in the guest: mount variants, the scenarios of each, and which the peer runs as well.

The guest is emulated and has minutes. So `make test` gives each variant what differs between mounts
(data, names, coherence), and the rest where mounts do not differ to a few (protection and further
channels change no name); ksmbd runs what it is measured on, and whatever fails against usmbd.
`make lab-full` runs everything on every variant, 2,000 files as well, against both: two hours.
"""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

CORE = ("fio_verify.sh", "tree.sh", "names.py", "contents.py", "two_mounts.py")
SMALL = ("fio_verify.sh", "names.py", "two_mounts.py")
DATA = ("fio_verify.sh", "two_mounts.py")
PROGRAMS = ("git_work.sh", "sqlite_kill.py")
RESTARTS = ("recover.py", "crash.sh", "worker_crash.py")
ALL = (*CORE, *PROGRAMS, "posix.py", "big_dir.sh", *RESTARTS, "tree_full.sh")
MEASUREMENTS = ("fio_speed.sh", "verbs_speed.sh")
SERVERS = ("usmbd", "ksmbd")
SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Variant:
    """A way to mount: its name in reports, and mount.cifs's options."""

    name: str
    options: str
    scenarios: tuple[str, ...] = CORE
    peer: tuple[str, ...] = ()
    """Scenarios that ksmbd runs in any case, for the ratio."""

    expect_refusal: str = ""
    """What mount.cifs has to say, where the server does not offer what the options insist on."""

    def __str__(self) -> str:
        """Return the name, for the tests' names."""
        return self.name


VARIANTS = (
    Variant(
        "tcp-3.1.1",
        "vers=3.1.1",
        (*CORE, *PROGRAMS, "posix.py", "big_dir.sh", "crash.sh"),
        (*CORE, "sqlite_kill.py"),
    ),
    Variant(
        "rdma-3.1.1",
        "vers=3.1.1,rdma",
        (*SMALL, "contents.py", "recover.py", "worker_crash.py"),
        ("fio_verify.sh",),
    ),
    Variant("tcp-2.1", "vers=2.1", (*SMALL, "contents.py")),
    Variant("tcp-seal", "vers=3.1.1,seal", (*DATA, "contents.py")),
    Variant("tcp-cache-none", "vers=3.1.1,cache=none", (*SMALL, "contents.py")),
    Variant("tcp-3.0-nounix", "vers=3.0,nounix", SMALL),
    Variant("tcp-sign", "vers=3.1.1,sign", DATA),
    Variant("tcp-multichannel", "vers=3.1.1,multichannel,max_channels=2", DATA),
    Variant("rdma-3.0", "vers=3.0,rdma", ("fio_verify.sh",)),
    Variant("rdma-3.0.2", "vers=3.02,rdma", ("fio_verify.sh",)),
    Variant("rdma-sign", "vers=3.1.1,rdma,sign", ("fio_verify.sh",)),
    # Linux 6.12 asks a sealed session for up to 2 MiB inline, which does not fit the messages that
    # it takes itself, and is refused; ksmbd cannot be mounted so at all.
    Variant("rdma-seal", "vers=3.1.1,rdma,seal,rsize=131072", ("fio_verify.sh",)),
    Variant("rdma-multichannel", "vers=3.1.1,rdma,multichannel,max_channels=2", ("fio_verify.sh",)),
    Variant("rdma-ipv6", "vers=3.1.1,rdma,ip=fd99::1", ("fio_verify.sh",)),
    Variant("tcp-posix", "vers=3.1.1,posix", (), expect_refusal="Operation not supported"),
)


def select(variants: str = "", scenarios: str = "") -> tuple[Variant, ...]:
    """Return the variants and, of each, the scenarios that have these words in their names.

    A scenario that is asked for by name runs on every variant that is selected, and on ksmbd, also
    one that is in no plan. ValueError when there is nothing of such a name.
    """
    chosen = [variant for variant in VARIANTS if variants in variant.name]
    if not chosen:
        names = ", ".join(variant.name for variant in VARIANTS)
        raise ValueError(f"no mount has {variants!r} in its name; there are {names}")
    if not scenarios:
        return tuple(chosen)
    there = sorted(path.name for path in SCENARIOS.glob("*.*") if os.access(path, os.X_OK))
    there.remove("prepare.py")
    wanted = tuple(name for name in there if scenarios in name)
    if not wanted:
        names = ", ".join(there)
        raise ValueError(f"no scenario has {scenarios!r} in its name; there are {names}")
    return tuple(replace(v, scenarios=wanted, peer=wanted) for v in chosen if not v.expect_refusal)


def full(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """Return the variants with every scenario, against both servers."""
    return tuple(
        variant if variant.expect_refusal else replace(variant, scenarios=ALL, peer=ALL)
        for variant in variants
    )


def plan(variants: tuple[Variant, ...]) -> list[dict[str, object]]:
    """Return the variants as the guest reads them (JSON)."""
    return [asdict(variant) for variant in variants]
