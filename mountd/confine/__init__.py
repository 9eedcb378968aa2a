"""What each process of the server may do, and how it gives up the rest.

`profiles` says what each needs; `process` gives up everything else, before a stranger's byte is
read: capabilities (the bounding set too), new privileges by exec, core dumps, system calls
(`filters`) and, where nothing of the kind is needed, files and the network (`landlock`). Workers,
who have to open files by name, lose the names of the password file and of keys (`hide`).
"""
