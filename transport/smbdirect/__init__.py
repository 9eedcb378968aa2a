"""SMB Direct ([MS-SMBD]): whole messages over RDMA, the peer's memory read and written directly."""
