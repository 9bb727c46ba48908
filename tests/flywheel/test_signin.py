"""Who gets in, how, and where they land."""

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from flywheel import signin
from flywheel.models import SignInLink
from tests import people

pytestmark = pytest.mark.django_db


def sign_in(name: str, password: str = people.PASSWORD, to: str = "") -> tuple[int, str]:
    answer = Client().post(reverse("sign-in"), {"username": name, "password": password, "next": to})
    return answer.status_code, answer.headers.get("Location", "")


def test_everyone_lands_where_their_work_is() -> None:
    (
        people.operator(password=people.PASSWORD),
        people.engineer(password=people.PASSWORD),
        people.reviewer(password=people.PASSWORD),
    )
    assert sign_in("olga") == (302, reverse("overview"))
    assert sign_in("emil") == (302, reverse("overview"))
    assert sign_in("rita") == (302, reverse("review-home"))


def test_a_wrong_password_is_said_in_place_and_the_name_stays() -> None:
    people.reviewer(password=people.PASSWORD)
    answer = Client().post(reverse("sign-in"), {"username": "rita", "password": "wrong"})
    assert answer.status_code == 422
    assert 'value="rita"' in answer.text
    assert "wrong" not in answer.text
    assert "_auth_user_id" not in Client().session


def test_after_signing_in_one_goes_where_one_was_going() -> None:
    people.engineer(password=people.PASSWORD)
    assert sign_in("emil", to="/exchanges/?q=end:stop") == (302, "/exchanges/?q=end:stop")


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"]
)
def test_but_never_to_another_site(to: str) -> None:
    people.engineer(password=people.PASSWORD)
    assert sign_in("emil", to=to) == (302, reverse("overview"))


def test_who_left_does_not_get_in() -> None:
    user = people.reviewer(password=people.PASSWORD)
    user.is_active = False
    user.save()
    assert sign_in("rita")[0] == 422
    assert signin.redeem(signin.make_link(user).split("/")[-2]) is None


def test_signing_out_takes_a_post() -> None:
    client = Client()
    client.force_login(people.reviewer(password=people.PASSWORD))
    assert client.get(reverse("sign-out")).status_code == 405
    assert "_auth_user_id" in client.session
    assert client.post(reverse("sign-out")).status_code == 302
    assert "_auth_user_id" not in client.session


def test_signing_out_takes_a_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.reviewer(password=people.PASSWORD))
    answer = client.post(reverse("sign-out"))
    assert answer.status_code == 403
    assert "too old to be taken" in answer.text
    assert "_auth_user_id" in client.session


def test_a_link_signs_in_once() -> None:
    path = signin.make_link(people.reviewer(password=people.PASSWORD))
    first, second = Client(), Client()
    assert first.get(path).headers["Location"] == reverse("review-home")
    assert "_auth_user_id" in first.session
    answer = second.get(path)
    assert answer.status_code == 410
    assert "no longer works" in answer.text
    assert "_auth_user_id" not in second.session


def test_a_link_ends_after_a_quarter_of_an_hour() -> None:
    path = signin.make_link(people.reviewer(password=people.PASSWORD))
    link = SignInLink.objects.get()
    assert timedelta(minutes=14) < link.expires_at - timezone.now() <= timedelta(minutes=15)
    SignInLink.objects.update(expires_at=timezone.now())
    assert Client().get(path).status_code == 410


def test_a_links_secret_is_not_kept() -> None:
    token = signin.make_link(people.reviewer(password=people.PASSWORD)).split("/")[-2]
    assert token not in str(SignInLink.objects.values())


@pytest.mark.parametrize(
    "where",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": "::1", "HTTP_FORWARDED": "for=192.0.2.7"},
    ],
)
def test_a_link_works_only_on_the_machine_itself_and_is_not_used_up_elsewhere(where: dict[str, str]) -> None:
    path = signin.make_link(people.reviewer(password=people.PASSWORD))
    assert Client().get(path, **where).status_code == 403  # type: ignore[arg-type]
    assert Client().get(path, REMOTE_ADDR="::1").status_code == 302


def test_a_made_up_link_is_nobodys() -> None:
    assert Client().get(reverse("sign-in-link", args=["x" * 43])).status_code == 410


def test_the_command_prints_a_link_that_works() -> None:
    people.engineer(password=people.PASSWORD)
    out = StringIO()
    call_command("sign_in_link", "emil", "--base", "http://127.0.0.1:8000/", stdout=out)
    address = out.getvalue().strip()
    assert address.startswith("http://127.0.0.1:8000/sign-in/")
    assert Client().get(address.removeprefix("http://127.0.0.1:8000")).headers["Location"] == "/"


def test_the_command_knows_who_is_not_there() -> None:
    with pytest.raises(CommandError, match="Nobody active is called zoe"):
        call_command("sign_in_link", "zoe")


def newcomer() -> Client:
    """Somebody who came by an invitation and has no password."""
    client = Client()
    client.force_login(User.objects.create_user("nina"))
    return client


def test_a_newcomer_chooses_a_first_password_and_comes_back_with_it() -> None:
    client = newcomer()
    url = reverse("password")
    assert "Your password now" not in client.get(url).text
    refused = client.post(url, {"new": "short"})
    assert (refused.status_code, "at least 10" in refused.text) == (422, True)
    assert client.post(url, {"new": "three wise owls", "next": "/words/"})["Location"] == "/words/"
    assert client.get(reverse("settings")).status_code == 200, "this session goes on"
    assert sign_in("nina", "three wise owls") == (302, reverse("review-home"))


def test_another_password_needs_the_one_that_holds_and_ends_other_sessions() -> None:
    user = people.reviewer(password=people.PASSWORD)
    here, elsewhere = Client(), Client()
    here.force_login(user)
    elsewhere.force_login(user)
    for now in ("", "wrong"):
        assert here.post(reverse("password"), {"now": now, "new": "three wise owls"}).status_code == 422
    assert sign_in("rita")[0] == 302
    right = {"now": people.PASSWORD, "new": "three wise owls"}
    assert here.post(reverse("password"), right)["Location"] == reverse("review-home")
    assert elsewhere.get(reverse("settings")).status_code == 302
    assert sign_in("rita")[0] == 422


def test_a_password_page_leads_to_no_other_site() -> None:
    answer = newcomer().post(reverse("password"), {"new": "three wise owls", "next": "https://evil.example/"})
    assert answer["Location"] == reverse("review-home")


def test_who_could_not_come_back_is_asked_before_signing_out() -> None:
    client = newcomer()
    page = client.get(reverse("settings")).text
    assert "data-sign-out" not in page
    answer = client.post(reverse("sign-out"))
    assert answer["Location"] == reverse("password") + "?leaving"
    asked = client.get(answer["Location"]).text
    assert "Or choose a password first" in asked
    assert "autofocus" not in asked
    assert client.get(reverse("settings")).status_code == 200
    client.post(reverse("sign-out"), {"without": "password"})
    assert client.get(reverse("settings")).status_code == 302
