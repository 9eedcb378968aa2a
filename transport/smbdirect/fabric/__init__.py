"""RDMA in memory: what stands in for a device where there is none (tests, CI)."""
