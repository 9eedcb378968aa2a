"""What other machines find the server by, without knowing its name.

`mdns` is a process that answers multicast DNS by the library zeroconf (macOS, Linux desktops),
`wsd` becomes wsdd, the host's daemon for WS-Discovery (Explorer's Network). Each is told once, at
its start, what to announce and where (`supervisor/discovery`).
"""
