"""What the tests share: a real server for each run, and the clients that are driven against it."""
