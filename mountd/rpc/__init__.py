"""DCE/RPC interfaces, answered by scapy's NDR."""
