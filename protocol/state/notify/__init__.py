"""Change notification: what clients that watch a directory are told ([MS-FSA] 2.1.5.11).

`change`: what changed, an action with the filters that it matches and a name, and what the kernel's
events say of it. `watch`: one open's entry, with what it has not been told yet and the requests
that wait. `directories`: what the kernel watches for them, as a forest of names. `walk` and
`walker`: how a tree gets its watches. `kernel_events` and `attributes`: what the kernel says of
them. `telling`: all watches of a directory in slices. `place`: where a file is whose change the
engine tells. `sight`: who may see it. `notifier`: a worker's, which brings both to the watches.
"""
