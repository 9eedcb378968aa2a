"""The objects of [MS-SMB2] 3.3.1 and the store that the workers share."""
