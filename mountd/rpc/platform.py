"""The platform that the server presents itself as, in srvsvc and wkssvc alike."""

PLATFORM_ID_NT = 500
"""[MS-SRVS] 2.2.2.6, [MS-WKST] 2.2.5.1."""

VERSION_MAJOR = 6
VERSION_MINOR = 1
"""What Samba and Windows 7 announce: clients that look at it at all want an NT of that age."""
