"""Addresses of the reviewer's and the lead's pages."""

from django.urls import path

from annotations import queue_views, views

urlpatterns = [
    path("review/", views.review_home, name="review-home"),
    path("review/<slug:slug>/", views.review, name="review"),
    path("review/<slug:slug>/next/", views.review_next, name="review-next"),
    path("review/<slug:slug>/judge/", views.review_judge, name="review-judge"),
    path("review/<slug:slug>/undo/", views.review_undo, name="review-undo"),
    path("review/<slug:slug>/mine/", views.review_mine, name="review-mine"),
    path("review/<slug:slug>/sureness/", views.review_sureness, name="review-sureness"),
    path("queues/", queue_views.queues, name="queues"),
    path("queues/new/", queue_views.queue_new, name="queue-new"),
    path("queues/import/", queue_views.queue_import, name="queue-import"),
    path("queues/<slug:slug>/file/", queue_views.queue_export, name="queue-export"),
    path("queues/<slug:slug>/", queue_views.queue, name="queue"),
    path("queues/<slug:slug>/settings/", queue_views.queue_settings, name="queue-settings"),
    path("queues/<slug:slug>/state/", queue_views.queue_state, name="queue-state"),
    path("queues/<slug:slug>/release/<int:pk>/", queue_views.queue_release, name="queue-release"),
    path("queues/<slug:slug>/draw/", queue_views.queue_draw, name="queue-draw"),
]
