"""The ways to mount that are tried, the scenarios, all of which each of them gets, and how much."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

SCENARIOS = (
    "fio_verify.sh",
    "tree.sh",
    "names.py",
    "contents.py",
    "server_copy.py",
    "two_mounts.py",
    "git_work.sh",
    "sqlite_kill.py",
    "posix.py",
    "special_files.py",
    "big_dir.sh",
    "random_file.py",
    "random_tree.py",
    "recover.py",
    "crash.sh",
    "worker_crash.py",
)
"""In this order: what ends the server comes last. Measurements (fio_speed.sh, verbs_speed.sh) are
none of a plan: they run when they are asked for by name."""

WITH_TOOLS = ("cifs_utils.py", *SCENARIOS)
"""On two mounts: what programs beside the kernel show is the same on all."""

OF_LINUX_6_12 = tuple(name for name in SCENARIOS if name != "random_file.py")
"""Where it may not cache a file, Linux 6.12 reads from the server what it has still to write:
random_file fails at the same operation on both servers, with `nolease` and where a lease was
broken (ksmbd: `smb2 leases = yes`). With leases `names` fails on both as well, so it has none."""

COMPRESSED = ("contents.py", "tree.sh", "random_file.py", "two_mounts.py")
"""What else is worth the while with data that travels compressed."""

OF_POSIX = (
    "like_local.py",
    "cifs_utils.py",
    *(name for name in SCENARIOS if name != "git_work.sh"),
)
"""With POSIX extensions Linux 7.3 shows a file that it has made with the mount's `file_mode` for a
second: it asks for nothing more and leaves aside the POSIX context of the CREATE's answer, which
has the right mode (`--capture`). git takes that for a change; on ksmbd git_work fails as well."""

SERVERS = ("usmbd", "ksmbd")
FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Work:
    """How much the scenarios do whose work has no natural end."""

    random_file: int
    random_tree: int
    """How many operations the random ones make."""

    files: int
    """How many small files the tree has."""

    seconds: float = 0
    """How long the random ones go on instead, however many operations that comes to."""

    def of(self, scenario: str) -> float:
        """Return how much a scenario does; 0 where that is always the same."""
        counts = {
            "random_file": self.seconds or self.random_file,
            "random_tree": self.seconds or self.random_tree,
            "tree": self.files,
        }
        return counts.get(scenario, 0)

    def told(self, scenario: str) -> dict[str, str]:
        """Return what a scenario is told of it, as environment variables."""
        random = scenario.startswith("random")
        unit = "SECONDS_OF_WORK" if self.seconds else "OPERATIONS"
        return {"FILES": str(self.files)} | ({unit: str(self.of(scenario))} if random else {})

    def limit(self, scenario: str) -> float:
        """Return the seconds that it may take beyond what every scenario may."""
        if self.seconds and scenario.startswith("random"):
            return self.seconds
        return self.of(scenario) * SLOWEST


SLOWEST = 0.1
"""Seconds for a random operation or a file of a tree, by which a hang is told: they take 2 to 6 ms,
on a busy machine have taken 100."""

FULL = Work(random_file=0, random_tree=0, files=2_000, seconds=60.0)
LONG_FILE = Work(random_file=6_000, random_tree=150, files=2_000)
LONG_TREE = Work(random_file=450, random_tree=1_800, files=2_000)
"""Two thirds of what a minute of each kind came to in `make test` on two processors, on a mount of
each transport. By time a quiet machine made six times as many, which took its processors."""
SHORT = Work(random_file=450, random_tree=150, files=2_000)
"""What all but two mounts have in `make test`, where 18 of them share some minutes. 2,000 files
take 5 s of CPU by TCP, 8 by RDMA."""

SHORT_UNREMEMBERED = replace(SHORT, files=100)
"""A client that remembers no attributes asks for each folder of a path at every use: 2,000 files
take 32 s of CPU. They are in `make lab-full`."""


@dataclass(frozen=True)
class Variant:
    """A way to mount: its name in reports, and mount.cifs's options."""

    name: str
    options: str
    scenarios: tuple[str, ...] = SCENARIOS
    rdma: str = "rxe"
    """The kind of both machines' RDMA device; "": they have none. With one the workers' loops are
    nobody's (protocol/vfs/identity.py), and files are opened on threads."""

    kernel: str = ""
    """The series of the client's kernel, where it is not the lab's newest."""

    one_address: bool = False
    """Both mounts go from and to the same address, on connections of their own."""

    work: Work = SHORT
    peer: Work | None = None
    """What ksmbd does of it in `make test`; in `make lab-full` it does everything."""

    expect_refusal: str = ""
    """What mount.cifs has to say, where the server does not offer what the options insist on."""

    def __str__(self) -> str:
        """Return the name, for the tests' names."""
        return self.name

    @property
    def over_rdma(self) -> bool:
        """Whether it is a mount by SMB Direct."""
        return "rdma" in self.options.split(",")


VARIANTS = (
    Variant("tcp-3.1.1", "vers=3.1.1", WITH_TOOLS, work=LONG_TREE, peer=SHORT),
    Variant("rdma-3.1.1", "vers=3.1.1,rdma", work=LONG_FILE, peer=SHORT),
    Variant("tcp-2.1", "vers=2.1", rdma=""),
    # Two options on one mount where they have nothing to do with each other: each mount takes 18 s
    # of a processor, one with two scenarios 4.
    Variant("tcp-3.0-nounix-mfsymlinks", "vers=3.0,nounix,mfsymlinks", rdma=""),
    Variant("tcp-cache-none-wsl", "vers=3.1.1,cache=none,reparse=wsl", rdma=""),
    Variant("tcp-compress", "vers=3.1.1,compress", ("compress.py", *COMPRESSED)),
    Variant("tcp-sign-nosharesock", "vers=3.1.1,sign", rdma="", one_address=True),
    Variant("tcp-seal", "vers=3.1.1,seal", rdma=""),
    Variant("tcp-multichannel", "vers=3.1.1,multichannel,max_channels=2"),
    Variant("rdma-3.0", "vers=3.0,rdma"),
    Variant("rdma-3.0.2-ipv6", "vers=3.02,rdma,ip=fd99::1"),
    Variant("rdma-sign", "vers=3.1.1,rdma,sign"),
    # Linux asks a sealed session for up to 2 MiB inline, which does not fit the messages that it
    # takes itself, and is refused.
    Variant("rdma-seal", "vers=3.1.1,rdma,seal,rsize=131072"),
    # From two addresses they would be clients of two workers, and each other's channels come to the
    # wrong one three times at once, after which Linux does without for ten minutes.
    Variant("rdma-multichannel", "vers=3.1.1,rdma,multichannel,max_channels=2", one_address=True),
    Variant("siw-3.1.1", "vers=3.1.1,rdma", rdma="siw"),
    Variant("tcp-6.12", "vers=3.1.1,nolease", OF_LINUX_6_12, rdma="", kernel="6.12"),
    Variant("rdma-6.12", "vers=3.1.1,rdma,nolease", OF_LINUX_6_12, kernel="6.12"),
    Variant(
        "tcp-posix",
        "vers=3.1.1,posix,idsfromsid,actimeo=0",
        OF_POSIX,
        rdma="",
        work=SHORT_UNREMEMBERED,
    ),
)


def select(variants: str = "", scenarios: str = "") -> tuple[Variant, ...]:
    """Return the variants and, of each, the scenarios that have these words in their names.

    ValueError when there is nothing of such a name.
    """
    chosen = [variant for variant in VARIANTS if variants in variant.name]
    if not chosen:
        names = ", ".join(variant.name for variant in VARIANTS)
        raise ValueError(f"no mount has {variants!r} in its name; there are {names}")
    if not scenarios:
        return tuple(chosen)
    there = sorted(path.name for path in FOLDER.glob("*.*") if os.access(path, os.X_OK))
    there.remove("prepare.py")
    wanted = tuple(name for name in there if scenarios in name)
    if not wanted:
        names = ", ".join(there)
        raise ValueError(f"no scenario has {scenarios!r} in its name; there are {names}")
    return tuple(replace(v, scenarios=wanted, peer=v.work) for v in chosen if not v.expect_refusal)


def lasting(variants: tuple[Variant, ...], seconds: float) -> tuple[Variant, ...]:
    """Return the variants with random work that goes on for so long, on both servers."""
    works = [replace(v.work, seconds=seconds) for v in variants]
    return tuple(replace(v, work=w, peer=w) for v, w in zip(variants, works, strict=True))


def full(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """Return the variants with all work, on both servers."""
    return tuple(replace(variant, work=FULL, peer=FULL) for variant in variants)
