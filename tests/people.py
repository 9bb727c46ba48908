"""The standing cast: Olga runs the server, Emil turns the wheel, Rita judges, and a stranger is nobody."""

from django.contrib.auth.models import Group, User

from inference.access import ENGINEERS


def operator(name: str = "olga") -> User:
    """May also change what takes traffic."""
    return User.objects.create_user(name, password="correct horse battery", is_staff=True, is_superuser=True)


def engineer(name: str = "emil") -> User:
    """Sees every page; builds, trains and evaluates."""
    user = User.objects.create_user(name, password="correct horse battery")
    user.groups.add(Group.objects.get_or_create(name=ENGINEERS)[0])
    return user


def reviewer(name: str = "rita") -> User:
    """Sees only the queues that list her."""
    return User.objects.create_user(name, password="correct horse battery")
