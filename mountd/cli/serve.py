"""`make serve`, which ^C ends without a traceback from the first moment on."""

import signal


def main() -> None:
    """Have the signal end the process, which imports for a second, and prepare the server."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from usmbd.mountd.cli import quickstart

    quickstart.main()


if __name__ == "__main__":
    main()
