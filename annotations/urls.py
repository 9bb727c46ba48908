"""Addresses of the reviewer's and the lead's pages."""

from django.urls import path

from annotations import views

urlpatterns = [
    path("review/", views.review_home, name="review-home"),
    path("review/<slug:slug>/", views.review, name="review"),
    path("review/<slug:slug>/next/", views.review_next, name="review-next"),
    path("review/<slug:slug>/judge/", views.review_judge, name="review-judge"),
    path("review/<slug:slug>/undo/", views.review_undo, name="review-undo"),
    path("review/<slug:slug>/mine/", views.review_mine, name="review-mine"),
    path("queues/", views.queues, name="queues"),
    path("queues/new/", views.queue_new, name="queue-new"),
    path("queues/<slug:slug>/", views.queue, name="queue"),
    path("queues/<slug:slug>/settings/", views.queue_settings, name="queue-settings"),
]
