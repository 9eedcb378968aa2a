"""The services of a server in DNS-SD ([RFC6763] 4 and 6).

`_smb._tcp` is what macOS and Linux desktops list. `_adisk._tcp` names the disks that Time Machine
may use (Apple's "Time Machine over SMB Specification"), `_device-info._tcp` whose icon Finder
shows. The flags are those that Samba announces.
"""

from zeroconf import ServiceInfo

from usmbd.protocol.discovery.plan import Plan

SMB, DISKS, DEVICE = "_smb._tcp.local.", "_adisk._tcp.local.", "_device-info._tcp.local."

SYSTEM_FLAGS = "adVF=0x100"
"""Volumes are known by their names, not by the address of a network card."""
DISK_FLAGS = "adVF=0x82"
"""A volume that Time Machine may use, by SMB."""


def services(plan: Plan, addresses: list[str]) -> list[ServiceInfo]:
    """Return what is announced on an interface that has these addresses."""
    host = f"{plan.name}.local."

    def service(kind: str, port: int, properties: dict[str, str]) -> ServiceInfo:
        return ServiceInfo(
            kind,
            f"{plan.name}.{kind}",
            port=port,
            properties=properties,
            server=host,
            parsed_addresses=addresses,
        )

    found = [service(SMB, plan.port, {})]
    if plan.model:
        found.append(service(DEVICE, 0, {"model": plan.model}))
    if plan.backup_disks:
        disks = {
            f"dk{number}": f"adVN={name},{DISK_FLAGS}"
            for number, name in enumerate(plan.backup_disks)
        }
        found.append(service(DISKS, 0, {"sys": SYSTEM_FLAGS} | disks))
    return found
