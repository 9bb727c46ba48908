"""Django's settings, from the environment alone.

The same code runs embedded (everything on one machine) and in production (PostgreSQL, a ClickHouse
cluster, Redis, vLLM on GPUs): only the addresses below differ. docs/operate.md lists every variable.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dj_database_url
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("FLYWHEEL_HOME", BASE_DIR / "var")).resolve()

DEBUG = os.environ.get("FLYWHEEL_DEBUG", "") == "1"
# Without a secret the site signs with one that no other process knows: sessions end with the process.
SECRET_KEY = os.environ.get("FLYWHEEL_SECRET_KEY") or os.urandom(32).hex()
ALLOWED_HOSTS = os.environ.get("FLYWHEEL_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
CSRF_TRUSTED_ORIGINS = [o for o in os.environ.get("FLYWHEEL_TRUSTED_ORIGINS", "").split(",") if o]
# Set where TLS ends in front of web: cookies are then sent over TLS only.
HTTPS = os.environ.get("FLYWHEEL_HTTPS", "") == "1"

# Addresses of the other processes.
CLICKHOUSE_URL = os.environ.get("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:8123/flywheel")
REDIS_URL = os.environ.get("FLYWHEEL_REDIS_URL", "redis://127.0.0.1:6379/0")
PROXY_URL = os.environ.get("FLYWHEEL_PROXY_URL", "http://127.0.0.1:8080")
SPOOL = Path(os.environ.get("FLYWHEEL_SPOOL", HOME / "spool"))
ARTEFACTS = os.environ.get("FLYWHEEL_ARTEFACTS", str(HOME / "artefacts"))
# Folder that the engines' LoRA resolver reads: one sub-folder an adapter, named with its hash.
ADAPTERS = Path(os.environ.get("FLYWHEEL_ADAPTERS", HOME / "adapters"))
# Python of the environment that has torch and peft.
TRAIN_PYTHON = os.environ.get("FLYWHEEL_TRAIN_PYTHON", str(BASE_DIR / ".venv-vllm" / "bin" / "python"))
# What proxies show to read routing snapshots. Empty: nobody may.
INTERNAL_TOKEN = os.environ.get("FLYWHEEL_INTERNAL_TOKEN", "")
# The API key with which evaluations call the proxy.
EVALUATION_KEY = os.environ.get("FLYWHEEL_EVALUATION_KEY", "")

# Days that engines', GPUs' and spools' vitals are kept, and seconds between two sweeps of them.
VITALS_DAYS = int(os.environ.get("FLYWHEEL_VITALS_DAYS", "90"))
# Days that it is kept who looked at texts; 0: for ever.
LOOKS_DAYS = int(os.environ.get("FLYWHEEL_LOOKS_DAYS", "0"))
WATCH_SECONDS = float(os.environ.get("FLYWHEEL_WATCH_SECONDS", "10"))

# Where alerts go by e-mail: smtp://user:password@host:587; smtp+tls: STARTTLS, smtps: TLS at once.
WEB_URL = os.environ.get("FLYWHEEL_WEB_URL", "http://127.0.0.1:8000")
EMAIL_FROM = os.environ.get("FLYWHEEL_EMAIL_FROM", "flywheel@localhost")
_mail = urlsplit(os.environ.get("FLYWHEEL_EMAIL_URL", "smtp://localhost"))
EMAIL_HOST, EMAIL_PORT = _mail.hostname or "localhost", _mail.port or (465 if _mail.scheme == "smtps" else 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
EMAIL_USE_TLS, EMAIL_USE_SSL, EMAIL_TIMEOUT = _mail.scheme == "smtp+tls", _mail.scheme == "smtps", 5

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "inference",
    "annotations",
    "flywheel",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "flywheel.middleware.PagePolicyMiddleware",
    "inference.reading_rights.ReadingMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "flywheel.context.page",
            ],
        },
    }
]

ROOT_URLCONF = "flywheel.urls"
WSGI_APPLICATION = "flywheel.wsgi.application"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign-in"

DATABASES = {
    "default": dj_database_url.parse(
        os.environ.get("FLYWHEEL_DATABASE_URL", f"sqlite:///{HOME / 'flywheel.sqlite3'}"), conn_max_age=60
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # One writer at a time, readers never wait: what SQLite does well, asked for explicitly.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
        # What is deleted is overwritten with zeros: an erased text must not stay in free pages.
        "PRAGMA secure_delete=ON;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "flywheel.formats"

STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"

# Every page but the admin's: nothing inline, nothing from elsewhere, nothing evaluated.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
# Unfold runs Alpine, which evaluates expressions, and styles inline (flywheel.middleware applies this).
ADMIN_CONTENT_SECURITY_POLICY = {
    **CONTENT_SECURITY_POLICY["DIRECTIVES"],
    "script-src": [SELF, UNSAFE_EVAL, UNSAFE_INLINE],
    "style-src": [SELF, UNSAFE_INLINE],
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

UNFOLD = {"SITE_TITLE": "Flywheel", "SITE_HEADER": "Flywheel", "SHOW_HISTORY": True}
