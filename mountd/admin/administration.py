"""The answers to what administrators ask and wish by DCE/RPC (`ipc.administration`)."""

import logging
import sqlite3
from collections.abc import Callable
from typing import Protocol

from usmbd.mountd.admin.computed import Computed
from usmbd.mountd.admin.dfs import change_link, list_links
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registered import Registered
from usmbd.mountd.admin.registry import Registry
from usmbd.mountd.admin.registry_store import RegistryStore
from usmbd.mountd.admin.rights import AccountRights
from usmbd.mountd.admin.running import Answered, Lists
from usmbd.mountd.admin.secrets import Secrets
from usmbd.mountd.admin.shares import ShareRequest, Shares
from usmbd.mountd.admin.users import Users
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.accounts import DirectoryResponse
from usmbd.mountd.ipc.administration import (
    PAGE_ROWS,
    AddShare,
    AdministrationRequest,
    ChangeShare,
    CloseRunning,
    DeleteShare,
    ListRunning,
    Outcome,
    Result,
    RunningPage,
)
from usmbd.mountd.ipc.dfs import PAGE_LINKS, AddTarget, LinkPage, ListLinks, RemoveTarget
from usmbd.mountd.ipc.messages import ControlClose, ControlList, Message, Row
from usmbd.mountd.ipc.registry import RegistryRequest
from usmbd.mountd.ipc.rights import (
    DISK_OPERATOR,
    AskGiven,
    GivenPage,
    ListGiven,
    RightsRequest,
)
from usmbd.mountd.ipc.secrets import SecretRequest
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.ipc.users import UsersRequest
from usmbd.mountd.users import UserTable

log = logging.getLogger("usmbd.auth")

Reply = Callable[[DirectoryResponse], None]


class Host(Protocol):
    """What administration needs of mountd."""

    @property
    def configuration(self) -> Configuration:
        """The configuration of the moment."""

    @property
    def server(self) -> ServerConfig:
        """The settings."""

    def disk_shares(self) -> list[ShareConfig]:
        """Return the shares with files."""

    def administrates(self, user: str) -> bool:
        """Tell whether a user administrates the server."""

    def sids(self, user: str) -> set[str]:
        """Return whom a user of the password file is, for descriptors."""

    def reconfigure(self, share: str | None, *, wanted: bool = True) -> int:
        """Have what the registry says of a share take effect; return the configuration's number."""

    @property
    def users(self) -> UserTable:
        """The users of the moment."""

    @property
    def users_changed(self) -> Callable[[], None]:
        """Has what is connected asked for again."""

    def edit_users(self, change: Callable[[UserTable], None]) -> None:
        """Write the password file anew, changed; what `change` raises stops it."""


class Asked(Protocol):
    """Who tells what runs: `running.Running`."""

    def ask(self, message: Message, answered: Answered) -> None:
        """Ask, and say what came of it."""


class Administration:
    """Answers what administrators ask, at once or later."""

    def __init__(
        self,
        host: Host,
        running: Asked,
        store: RegistryStore | None = None,
        registered: Registered | None = None,
    ) -> None:
        """Serve the administrators whom `host` knows; without a store nothing can be changed."""
        self._host = host
        self._users = Users(host)
        self._shares = self._registry = None
        self.rights: AccountRights | None = None
        """What has been given; None: nothing is kept."""
        self._secrets: Secrets | None = None
        if store is not None and registered is not None:
            self.rights = AccountRights(store, host)
            self._secrets = Secrets(store)
            self._shares = Shares(store, registered, host)
            self._registry = Registry(store, host, Computed(store, host))
        self._running = running
        self._lists = Lists()
        self._handlers: dict[type, Callable[..., None]] = {
            ListRunning: self._list,
            CloseRunning: self._close,
            AddTarget: self._change_link,
            RemoveTarget: self._change_link,
        }

    def answer(self, message: AdministrationRequest, reply: Reply) -> None:
        """Answer one question."""
        if isinstance(message, ListLinks):  # every user may know them
            links = list_links(self._host.configuration, message.share)
            part = links[message.start : message.start + PAGE_LINKS]
            reply(LinkPage(part, len(links)))
            return
        if not (self._host.administrates(message.by) or self._may(message)):
            reply(Outcome(Result.DENIED))
            return
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, reply)
            return
        try:
            reply(self._kept(message))
        except RefusedError as error:
            if error.why:
                log.info("refused: %s", error.why, extra={"user": message.by})
            reply(Outcome(error.result))
        except ConfigError as error:
            log.error("the configuration file cannot be used, so nothing is changed: %s", error)
            reply(Outcome(Result.FAILED))
        except sqlite3.Error as error:
            log.error("the registry failed: %s", error)
            reply(Outcome(Result.FAILED))

    def _may(self, message: AdministrationRequest) -> bool:
        """Tell whether who does not administrate has been given the right to this one thing."""
        if self.rights is None:
            return False
        if isinstance(message, AskGiven):
            return True
        wanted = AddShare | ChangeShare | DeleteShare
        return isinstance(message, wanted) and self.rights.has(message.by, DISK_OPERATOR)

    def _kept(self, message: AdministrationRequest) -> DirectoryResponse:
        """Answer what is about users, the registry, or rights and shares, which it keeps."""
        if isinstance(message, UsersRequest):
            return self._users.answer(message)
        if isinstance(message, RightsRequest):
            if self.rights is not None:
                return self.rights.answer(message)
            if isinstance(message, ListGiven):
                return GivenPage([], 0)
            raise RefusedError(Result.FAILED, "there is no registry")
        if self._shares is None or self._registry is None or self._secrets is None:
            raise RefusedError(Result.FAILED, "there is no registry")
        if isinstance(message, SecretRequest):
            return self._secrets.answer(message)
        if isinstance(message, ShareRequest):
            return self._shares.answer(message)
        assert isinstance(message, RegistryRequest)
        return self._registry.answer(message)

    def _change_link(self, message: AddTarget | RemoveTarget, reply: Reply) -> None:
        """Change a link of DFS."""
        result = change_link(self._host.configuration, message)
        log.info(
            "an administrator changes the DFS link %s of %s: %s",
            message.path, message.share, result, extra={"user": message.by},
        )  # fmt: skip
        reply(Outcome(result))

    # -- what runs -------------------------------------------------------------------------

    def _list(self, message: ListRunning, reply: Reply) -> None:
        if message.list:
            rows = self._lists.get(message.list)
            if rows is None:  # others' lists took its place
                reply(Outcome(Result.FAILED))
            else:
                self._page(message.list, rows, message.start, reply)
            return

        def told(rows: list[Row] | None) -> None:
            if rows is None:
                reply(Outcome(Result.FAILED))
            elif len(rows) <= PAGE_ROWS:
                reply(RunningPage(rows, len(rows), 0))
            else:
                self._page(self._lists.add(rows), rows, 0, reply)

        self._running.ask(ControlList(message.kinds), told)

    def _page(self, number: int, rows: list[Row], start: int, reply: Reply) -> None:
        """Tell a part of a list; with its last part it is forgotten."""
        if start + PAGE_ROWS >= len(rows):
            self._lists.drop(number)
        reply(RunningPage(rows[start : start + PAGE_ROWS], len(rows), number))

    def _close(self, message: CloseRunning, reply: Reply) -> None:
        log.info(
            "an administrator ends %d sessions and closes %d files",
            len(message.sessions), len(message.opens), extra={"user": message.by},
        )  # fmt: skip
        self._running.ask(
            ControlClose(message.sessions, message.opens),
            lambda rows: reply(Outcome(Result.FAILED if rows is None else Result.DONE)),
        )
