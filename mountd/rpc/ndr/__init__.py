"""NDR 2.0 and NDR64: what calls and structures are declared with (C706 14, [MS-RPCE] 2.2.4, 2.2.5).

A structure is a dataclass whose fields are annotated with NDR types, by the aliases of `types`::

    @structure
    class DomainInformation:
        name: UnicodeString
        sid: Annotated[str | None, Unique(SID)]

One declaration reads and writes, in both transfer syntaxes; it is read in both byte orders.
"""
