"""The process at the door: it accepts clients and reads the first message of each.

What strangers send is parsed by nobody who has rights: this process is a user of its own, without
capabilities, files and sockets of its making. It hands every client on to the supervisor, whose
listening sockets it is given.
"""
