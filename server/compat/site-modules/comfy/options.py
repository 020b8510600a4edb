"""Whether the command line is read; here it never is by packs."""

args_parsing = False


def enable_args_parsing(enable: bool = True) -> None:
    """Nothing: the program has read its own command line."""
    del enable
