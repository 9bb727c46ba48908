"""People and their roles; rollouts and jobs to look at. What was rolled out is never edited."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from flywheel.models import ApiPrice, Job, Rollout
from inference.read_only import ReadOnlyAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Roles: everyone may review; the group "engineers" turns the wheel; staff also operates."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "first_name", "last_name", "is_staff", "is_active", "last_login")


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


@admin.register(Rollout)
class RolloutAdmin(ReadOnlyAdmin):
    list_display = ("id", "route", "action", "candidate", "share", "decision", "created_by", "created_at")
    list_filter = ("route", "action")


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "state", "message", "attempts", "created_at", "finished_at")
    list_filter = ("kind", "state")


@admin.register(ApiPrice)
class ApiPriceAdmin(ModelAdmin):
    """What APIs charge, to compare with. Prices change: say where and when you read them."""

    list_display = ("name", "price_in", "price_out", "source", "seen_on")


# The alerts' admin registers itself.
from flywheel import alert_admin  # noqa: E402, F401
