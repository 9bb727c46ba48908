"""Addresses that only take what is posted, although a browser may come to stay at one: a refused form is
drawn there, and who has to sign in first is sent back there. Reloaded, they lead to the page with the form.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

PostView = Callable[..., HttpResponseBase]


def posted_from(page: str, *names: str) -> Callable[[PostView], PostView]:
    """Let only posts through; send who looks to ``page``, which knows itself who gets in.

    ``names``: which of the address's arguments the page's address takes.
    """

    def decorate(view: PostView) -> PostView:
        @wraps(view)
        def only_posts(request: HttpRequest, **given: Any) -> HttpResponseBase:
            if request.method in ("GET", "HEAD"):
                return redirect(page, *(given[name] for name in names))
            if request.method != "POST":
                return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
            return view(request, **given)

        return only_posts

    return decorate
