"""Every page's address; each room keeps its own list."""

from django.contrib import admin
from django.urls import include, path

from flywheel import prometheus, views
from flywheel.pages.overview import overview
from flywheel.pages.password import password

urlpatterns = [
    path("", overview, name="overview"),
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-in/<str:token>/", views.sign_in_link, name="sign-in-link"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("password/", password, name="password"),
    path("words/", views.words, name="words"),
    path("settings/", views.settings, name="settings"),
    path("search/", views.search, name="search"),
    path("internal/metrics", prometheus.metrics, name="metrics"),
    path("capture/", views.capture, name="capture"),
    path("healthz", views.healthz, name="healthz"),
    path("", include("inference.urls")),
    path("", include("annotations.urls")),
    path("", include("flywheel.wheel_urls")),
    # The admin's own way out would leave what the browser kept.
    path("admin/logout/", views.sign_out),
    path("admin/", admin.site.urls),
]

handler500 = "flywheel.views.server_error"
