"""The process that stores `security.NTACL`, reads and sets quotas for the workers.

The kernel lets only CAP_SYS_ADMIN do that; so none that parses what strangers send has that right.
"""
