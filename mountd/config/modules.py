"""What `vfs objects` mean with their options, where a module has a structure of its own."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from usmbd.mountd.config.choose import Chosen
from usmbd.mountd.config.source import Entry
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.settings import FruitConfig, ResourceForks, SnapshotConfig

_DOUBLES = "._*"


def fruit(
    chosen: Chosen, values: dict[str, Any], warn: Callable[[Entry, str], None]
) -> FruitConfig | None:
    """Return what a share has for macOS, whose streams have to be kept somewhere."""
    if "fruit" not in values["vfs objects"]:
        return None
    entry = chosen["vfs objects"][1]
    if "streams_xattr" not in values["vfs objects"]:
        warn(entry, f"{entry.name}: fruit needs streams_xattr: it is added")
    if "fruit:veto_appledouble" in chosen and values["fruit:resource"] is ResourceForks.STREAM:
        warn(
            chosen["fruit:veto_appledouble"][1],
            "fruit:veto_appledouble is for `fruit:resource = file`, as with Samba",
        )
    return FruitConfig(
        aapl=values["fruit:aapl"],
        metadata=values["fruit:metadata"],
        resource=values["fruit:resource"],
        convert_adouble=values["fruit:convert_adouble"],
        wipe_intentionally_left_blank_rfork=values["fruit:wipe_intentionally_left_blank_rfork"],
        delete_empty_adfiles=values["fruit:delete_empty_adfiles"],
        model=values["fruit:model"],
        copyfile=values["fruit:copyfile"],
        nfs_aces=values["fruit:nfs_aces"],
        posix_rename=values["fruit:posix_rename"],
        zero_file_id=values["fruit:zero_file_id"],
        aapl_rsize=values["readdir_attr:aapl_rsize"],
        aapl_finder_info=values["readdir_attr:aapl_finder_info"],
        aapl_max_access=values["readdir_attr:aapl_max_access"],
        time_machine=values["fruit:time machine"],
        time_machine_max_size=values["fruit:time machine max size"],
    )


def vetoed(values: dict[str, Any]) -> list[str]:
    """Return what a share vetoes: with `fruit` the files `._NAME` that hold resource forks, too."""
    patterns: list[str] = values["veto files"]
    in_files = "fruit" in values["vfs objects"] and values["fruit:resource"] is ResourceForks.FILE
    if in_files and values["fruit:veto_appledouble"] and _DOUBLES not in patterns:
        return [*patterns, _DOUBLES]
    return patterns


def snapshots(chosen: Chosen, values: dict[str, Any], errors: list[ConfigError]) -> SnapshotConfig:
    """Return where a share's previous versions are; a format that does not fit is noted."""
    wants_seconds = values["shadow:sscanf"]
    if wants_seconds != ("%lu" in values["shadow:format"]):
        name = "shadow:format" if "shadow:format" in chosen else "shadow:sscanf"
        if name in chosen:
            why = "`shadow:sscanf = yes` and %lu in `shadow:format` go together"
            errors.append(chosen[name][1].error(f"{name} = {values[name]}: {why}"))
    return SnapshotConfig(
        directory=values["shadow:snapdir"],
        mount_point=values["shadow:mountpoint"],
        base_directory=values["shadow:basedir"],
        share_path=values["shadow:snapsharepath"],
        format=values["shadow:format"],
        local_time=values["shadow:localtime"],
        sort=values["shadow:sort"],
        fix_inodes=values["shadow:fixinodes"],
    )


def no_snapshots(
    chosen: Chosen, values: dict[str, Any], path: str, has: Callable[[str], bool | None]
) -> Iterator[tuple[Entry, str]]:
    """Yield which folders of previous versions are not there (now): nobody would see one.

    `has` says whether there is a directory.
    """
    if "shadow_copy2" not in values["vfs objects"] or "%" in path or not has(path):
        return
    mount = values["shadow:mountpoint"]
    if mount and not has(mount):
        yield chosen["shadow:mountpoint"][1], f"shadow:mountpoint: {mount} is not a directory (now)"
    elif "shadow:snapdir" in chosen:
        if not mount:
            mount = os.path.realpath(path)
            while not os.path.ismount(mount):
                mount = os.path.dirname(mount)
        where = os.path.join(mount, values["shadow:snapdir"])
        if not has(where):
            yield chosen["shadow:snapdir"][1], f"shadow:snapdir: {where} is not a directory (now)"
