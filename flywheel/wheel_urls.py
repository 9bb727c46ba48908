"""Addresses of the pages that turn the wheel."""

from django.urls import path

from flywheel.pages import (
    agreement,
    approval,
    datasets,
    engine,
    erasures,
    evaluations,
    jobs,
    masking,
    retention,
    rollouts,
    sending,
    training,
    vitals,
)

urlpatterns = [
    path("queues/<slug:slug>/agreement/", agreement.queue_agreement, name="queue-agreement"),
    path("exchanges/send/", sending.send, name="exchange-send"),
    path("datasets/", datasets.index, name="datasets"),
    path("datasets/new/", datasets.dataset_new, name="dataset-new"),
    path("datasets/<slug:name>/", datasets.dataset, name="dataset"),
    path("datasets/<slug:name>/<int:number>/", datasets.dataset_version, name="dataset-version"),
    path("training/", training.index, name="training"),
    path("training/new/", training.training_new, name="training-new"),
    path("training/<int:pk>/", training.training_run, name="training-run"),
    path("evaluations/", evaluations.index, name="evaluations"),
    path("evaluations/new/", evaluations.evaluation_new, name="evaluation-new"),
    path("evaluations/<int:pk>/", evaluations.evaluation_page, name="evaluation"),
    path("evaluations/<int:pk>/cases/", evaluations.cases, name="evaluation-cases"),
    path("rollouts/", rollouts.index, name="rollouts"),
    path("rollouts/new/", rollouts.rollout_new, name="rollout-new"),
    path("rollouts/<int:pk>/", rollouts.rollout_page, name="rollout"),
    path("routes/<slug:name>/", rollouts.route, name="route"),
    path("routes/<slug:name>/back/", rollouts.route_back, name="route-back"),
    path("jobs/<int:pk>/", jobs.job_act, name="job-act"),
    path("erasures/", erasures.index, name="erasures"),
    path("erasures/<int:pk>/", erasures.receipt, name="erasure"),
    path("masking/", masking.preview, name="masking"),
    path("retention/", retention.index, name="retention"),
    path("approval/", approval.approval, name="approval"),
    path("engine/", engine.engine_room, name="engine-room"),
    path("engine/known/drops/", engine.drops_known, name="drops-known"),
    path("engine/<slug:name>/", vitals.engine, name="engine"),
]
