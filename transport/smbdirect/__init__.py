"""SMB Direct ([MS-SMBD]): whole messages over RDMA, and the peer's memory read and written directly."""
