class UserError(Exception):
    """A mistake that its maker can mend: the message says what was wrong, what was given, what to do."""
