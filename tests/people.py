"""The standing cast: Olga runs the server, Emil turns the wheel, Rita judges, and a stranger is nobody.

Without a password, which costs most of a second to hash, they sign in by ``force_login`` only.
"""

from django.contrib.auth.models import Group, User

from inference.access import ENGINEERS

PASSWORD = "correct horse battery"


def operator(name: str = "olga", password: str | None = None) -> User:
    """May also change what takes traffic."""
    return User.objects.create_user(name, password=password, is_staff=True, is_superuser=True)


def engineer(name: str = "emil", password: str | None = None) -> User:
    """Sees every page; builds, trains and evaluates."""
    user = User.objects.create_user(name, password=password)
    user.groups.add(Group.objects.get_or_create(name=ENGINEERS)[0])
    return user


def reviewer(name: str = "rita", password: str | None = None) -> User:
    """Sees only the queues that list her."""
    return User.objects.create_user(name, password=password)
