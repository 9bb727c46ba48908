"""Addresses of the pages that turn the wheel."""

from django.urls import path

from flywheel import wheel_views as views

urlpatterns = [
    path("datasets/", views.datasets, name="datasets"),
    path("datasets/new/", views.dataset_new, name="dataset-new"),
    path("datasets/<slug:name>/", views.dataset, name="dataset"),
    path("datasets/<slug:name>/<int:number>/", views.dataset_version, name="dataset-version"),
    path("training/", views.training, name="training"),
    path("training/<int:pk>/", views.training_run, name="training-run"),
    path("evaluations/", views.evaluations, name="evaluations"),
    path("evaluations/<int:pk>/", views.evaluation, name="evaluation"),
    path("rollouts/", views.rollouts, name="rollouts"),
    path("rollouts/new/", views.rollout_new, name="rollout-new"),
    path("rollouts/<int:pk>/", views.rollout, name="rollout"),
    path("routes/<slug:name>/", views.route, name="route"),
    path("routes/<slug:name>/back/", views.route_back, name="route-back"),
    path("jobs/<int:pk>/progress/", views.job_progress, name="job-progress"),
    path("engine/", views.engine_room, name="engine-room"),
]
