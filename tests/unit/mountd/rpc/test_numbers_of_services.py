"""Numbers of svcctl, by impacket's own tables."""

from impacket.dcerpc.v5 import samr, scmr
from impacket.uuid import bin_to_uuidtup

from usmbd.mountd.rpc.access import Access
from usmbd.mountd.rpc.interfaces.svcctl import base as services_base
from usmbd.mountd.rpc.interfaces.svcctl import changes as services_changes
from usmbd.mountd.rpc.interfaces.svcctl import manager, service, services

SAME_NAMES = (
    (
        services_base,
        "SC_MANAGER_ENUMERATE_SERVICE SC_MANAGER_LOCK SC_MANAGER_QUERY_LOCK_STATUS"
        " SERVICE_QUERY_CONFIG SERVICE_QUERY_STATUS SERVICE_ENUMERATE_DEPENDENTS SERVICE_START"
        " SERVICE_STOP SERVICE_PAUSE_CONTINUE SERVICE_INTERROGATE",
    ),
    (manager, "SERVICE_ACTIVE SERVICE_INACTIVE"),
    (service, "SERVICE_ERROR_NORMAL"),
    (services, "SERVICE_STOPPED SERVICE_RUNNING SERVICE_AUTO_START SERVICE_DISABLED"),
)


def test_constants() -> None:
    for ours, names in SAME_NAMES:
        for name in names.split():
            assert getattr(ours, name) == getattr(scmr, name), name
    control = services_base.SERVICE_USER_DEFINED_CONTROL
    assert control == scmr.SERVICE_USER_DEFINED_CTRL
    assert services_changes.STOP == scmr.SERVICE_CONTROL_STOP
    assert services_changes.INTERROGATE == scmr.SERVICE_CONTROL_INTERROGATE
    assert services_changes.NO_CHANGE == scmr.SERVICE_NO_CHANGE
    assert (*(samr.WRITE_DAC, samr.WRITE_OWNER),) == (
        services_changes.WRITE_DAC,
        services_changes.WRITE_OWNER,
    )
    assert service.READ_CONTROL == samr.READ_CONTROL
    syntax = services_base.CALLS.syntax
    identifier, version = bin_to_uuidtup(scmr.MSRPC_UUID_SCMR)
    assert (str(syntax.uuid).upper(), f"{syntax.major}.{syntax.minor}") == (identifier, version)


def test_rights_of_services() -> None:
    """[MS-SCMR] 3.1.4: what the generic rights are for the manager and for a service."""
    read, ours, standard = samr.READ_CONTROL, services_base, 0xF0000
    rights = {name: value for name, value in vars(scmr).items() if name[:11] == "SC_MANAGER_"}
    assert Access(
        all=standard | sum(rights.values()),
        read=read | scmr.SC_MANAGER_ENUMERATE_SERVICE | scmr.SC_MANAGER_QUERY_LOCK_STATUS,
        write=read | scmr.SC_MANAGER_CREATE_SERVICE | scmr.SC_MANAGER_MODIFY_BOOT_CONFIG,
        execute=read | scmr.SC_MANAGER_CONNECT | scmr.SC_MANAGER_LOCK,
        everybody=0,
    ) == (ours.MANAGER)
    looks = scmr.SERVICE_QUERY_CONFIG | scmr.SERVICE_QUERY_STATUS | scmr.SERVICE_INTERROGATE
    moves = scmr.SERVICE_START | scmr.SERVICE_STOP | scmr.SERVICE_PAUSE_CONTINUE
    assert Access(
        all=scmr.SERVICE_ALL_ACCESS,
        read=read | looks | scmr.SERVICE_ENUMERATE_DEPENDENTS,
        write=read | scmr.SERVICE_CHANGE_CONFIG,
        execute=read | moves | scmr.SERVICE_USER_DEFINED_CTRL,
        everybody=0,
    ) == (ours.SERVICE)
    reasons = scmr.SERVICE_STOP_PLANNED | scmr.SERVICE_STOP_UNPLANNED
    assert reasons == services_changes.PLANNED_OR_NOT
    assert (service.OWNER, service.GROUP, service.DACL, service.SACL) == (1, 2, 4, 8)
