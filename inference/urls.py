"""Addresses of the exchange pages and of what proxies read."""

from django.urls import path

from inference import internal, views

urlpatterns = [
    path("exchanges/", views.exchanges, name="exchanges"),
    path("exchanges/<uuid:exchange_id>/", views.exchange, name="exchange"),
    path("exchanges/<uuid:exchange_id>/raw/", views.exchange_raw, name="exchange-raw"),
    path("sessions/<path:session>/", views.session, name="session"),
    path("internal/routing", internal.routing_snapshot, name="routing-snapshot"),
    path("internal/spool", internal.spool, name="spool-report"),
]
