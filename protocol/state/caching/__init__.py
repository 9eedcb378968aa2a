"""What clients may cache of a file, by oplocks and by leases, and how it is taken back.

    rules      the one state machine, as data: what takes what, what is granted beside what
    lease      a lease's life, as pure functions: granted, raised, broken, acknowledged, expired
    notices    on which channel a client is told
    oplocks    the oplocks of this worker's opens: told, answered, expired
    kernel_oplocks  which oplocks stand with a lease of the kernel's
    leases     the same of its clients' leases
    needed     what has to wait for which breaks
    caching    who asks for what: opens that come, files that change; breaks, wherever holders are

What all workers must know stands in the opens' records in the store, and changes in transactions;
the worker that has a client talks to it, and wakes who waits.
"""
