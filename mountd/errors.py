"""The error of configuration and password files: it names the file and the line."""


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


class ConfigErrors(ConfigError):
    """All that is wrong with the files, one line each; its own place is that of the first."""

    def __init__(self, errors: list[ConfigError]) -> None:
        """Keep the errors, at least one."""
        self.errors = errors
        super().__init__(errors[0].file, errors[0].line, errors[0].message)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def all_of(error: ConfigError) -> list[ConfigError]:
    """Return the errors that one stands for."""
    return error.errors if isinstance(error, ConfigErrors) else [error]


def raise_all(errors: list[ConfigError], first: str = "") -> None:
    """Raise what was found, if anything was, in the order of files and lines.

    The file `first` comes before the others.
    """
    every = [one for error in errors for one in all_of(error)]
    every.sort(key=lambda error: (error.file != first, error.file, error.line))
    if len(every) == 1:
        raise every[0]
    if every:
        raise ConfigErrors(every)
