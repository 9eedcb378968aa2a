"""SMB Direct on the wire for scapy: RoCEv2's headers, [MS-SMBD] 2.2, reassembly of whole messages.

Importing the package binds the layers, so that `rdpcap` of a RoCEv2 capture gives them.
"""

from smbdirect import cm, layers, roce, session

__all__ = ["cm", "layers", "roce", "session"]
