"""The standing cast: Olga runs the server, Emil turns the wheel, Rita judges, and a stranger is nobody.

Without a password, which costs most of a second to hash, they sign in by ``force_login`` only.
"""

from django.contrib.auth.models import Group, User
from django.test import Client

from inference.access import ENGINEERS
from inference.models import Route
from inference.reading_rights import ReadingRight

PASSWORD = "correct horse battery"


def may_read(
    *routes: str, texts: bool = False, role: str = "", group: str = "", person: User | None = None
) -> ReadingRight:
    """Give a right: of these routes, which are made if need be, or of every one."""
    held = Group.objects.get_or_create(name=group)[0] if group else None
    right = ReadingRight.objects.create(
        role=role, group=held, person=person, every_route=not routes, texts=texts
    )
    right.routes.set(Route.objects.get_or_create(name=name)[0] for name in routes)
    return right


def as_migrated() -> None:
    """Engineers and operators read everything, as where nobody has changed it; tests make no migrations."""
    ReadingRight.objects.get_or_create(role="engineers", every_route=True, texts=True)


def operator(name: str = "olga", password: str | None = None) -> User:
    """May also change what takes traffic."""
    as_migrated()
    return User.objects.create_user(name, password=password, is_staff=True, is_superuser=True)


def engineer(name: str = "emil", password: str | None = None) -> User:
    """Sees every page; builds, trains and evaluates."""
    as_migrated()
    user = User.objects.create_user(name, password=password)
    user.groups.add(Group.objects.get_or_create(name=ENGINEERS)[0])
    return user


def reviewer(name: str = "rita", password: str | None = None) -> User:
    """Sees only the queues that list her."""
    return User.objects.create_user(name, password=password)


def client(user: User | None) -> Client:
    """Signed in as somebody; with None, a stranger's."""
    made = Client()
    if user is not None:
        made.force_login(user)
    return made
