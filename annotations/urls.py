"""Addresses of the reviewer's and the lead's pages."""

from django.urls import path

from annotations import conflict_views, draft_views, gold_views, people_views, queue_views, views

urlpatterns = [
    path("review/", views.review_home, name="review-home"),
    path("review/<slug:slug>/", views.review, name="review"),
    path("review/<slug:slug>/this/", views.review_this, name="review-this"),
    path("review/<slug:slug>/next/", views.review_next, name="review-next"),
    path("review/<slug:slug>/drafts/", draft_views.review_drafts, name="review-drafts"),
    path("review/<slug:slug>/judge/", views.review_judge, name="review-judge"),
    path("review/<slug:slug>/undo/", views.review_undo, name="review-undo"),
    path("review/<slug:slug>/finish/", views.review_finish, name="review-finish"),
    path("review/<slug:slug>/ask/", views.review_ask, name="review-ask"),
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
    path("queues/<slug:slug>/reassign/<int:pk>/", queue_views.queue_reassign, name="queue-reassign"),
    path("queues/<slug:slug>/items/<int:pk>/", queue_views.queue_item, name="queue-item"),
    path("queues/<slug:slug>/checks/", gold_views.queue_checks, name="queue-checks"),
    path("queues/<slug:slug>/conflicts/", conflict_views.queue_conflicts, name="queue-conflicts"),
    path("queues/<slug:slug>/items/<int:pk>/decide/", conflict_views.queue_decide, name="queue-decide"),
    path("queues/<slug:slug>/items/<int:pk>/check/", conflict_views.queue_check, name="queue-check"),
    path("queues/<slug:slug>/items/<int:pk>/flag/", queue_views.queue_flag, name="queue-flag"),
    path(
        "queues/<slug:slug>/annotations.<str:form>", queue_views.queue_annotations, name="queue-annotations"
    ),
    path("queues/<slug:slug>/people/", people_views.queue_people, name="queue-people"),
    path("queues/<slug:slug>/invite/", people_views.queue_invite, name="queue-invite"),
    path("queues/<slug:slug>/invite/<int:pk>/back/", people_views.queue_uninvite, name="queue-uninvite"),
    path("queues/<slug:slug>/people/<int:pk>/remove/", people_views.queue_remove, name="queue-remove"),
    path("queues/<slug:slug>/people/<int:pk>/outside/", people_views.queue_outside, name="queue-outside"),
    path("join/<str:token>/", people_views.join, name="join"),
    path("queues/<slug:slug>/draw/", queue_views.queue_draw, name="queue-draw"),
]
