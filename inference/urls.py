"""Addresses of the exchange pages and of what proxies read."""

from django.urls import path

from inference import completion, internal, saved_views, views

urlpatterns = [
    path("exchanges/", views.exchanges, name="exchanges"),
    path("exchanges/complete/", completion.complete, name="complete"),
    path("exchanges/diff/", views.diff, name="exchange-diff"),
    path("exchanges/views/", saved_views.save_view, name="save-view"),
    path("exchanges/views/<int:pk>/", saved_views.saved_view, name="saved-view"),
    path("exchanges/views/<int:pk>/remove/", saved_views.remove_view, name="remove-view"),
    path("exchanges/<uuid:exchange_id>/", views.exchange, name="exchange"),
    path("exchanges/<uuid:exchange_id>/raw/", views.exchange_raw, name="exchange-raw"),
    path("sessions/", views.sessions, name="sessions"),
    path("sessions/<path:session>/", views.session, name="session"),
    path("internal/routing", internal.routing_snapshot, name="routing-snapshot"),
    path("internal/spool", internal.spool, name="spool-report"),
]
