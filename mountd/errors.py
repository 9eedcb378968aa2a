"""The one error of configuration and password files: it names the file and the line."""


class ConfigError(Exception):
    """Something in a file that an administrator wrote cannot be used.

    Shown as `file:line: message`; line 0 means the file as a whole.
    """

    def __init__(self, file: str, line: int, message: str) -> None:
        """Say what is wrong and where."""
        self.file = file
        self.line = line
        self.message = message
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
