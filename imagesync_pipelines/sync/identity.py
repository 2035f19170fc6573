"""Whose account it is that a name of the accounts file reaches: the rule, pure.

An identity is an account, never a token: another token of the same account changes nothing, and what does not say who
it is is unproven, which refuses nothing.
"""

from collections.abc import Mapping


def same_account(name: str, account_id: str, known: Mapping[str, str]) -> str:
    """The other name that stands for the very account with this id; '' when there is none.

    account_id: the system's own id, '' where it did not tell. known: ids by name, of the source and of all targets;
    what it says of `name` itself is no matter. Of several other names the first in alphabetical order is given.
    """
    if not account_id:
        return ""
    return min((other for other, known_id in known.items() if other != name and known_id == account_id), default="")
