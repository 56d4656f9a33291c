# syntax=docker/dockerfile:1
# The site in a container: docs/container.md. 容器部署见 docs/container.zh-CN.md
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /srv/groupsite
RUN python -m venv /opt/venv
COPY requirements requirements
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install --disable-pip-version-check --require-hashes \
    -r requirements/gunicorn.txt -r requirements/postgresql.txt -r requirements/mysql.txt \
    -r requirements/redis.txt -r requirements/s3.txt -r requirements/sentry.txt \
    -r requirements/metrics.txt
COPY . .
# Nothing can be written there later, and each start would compile it anew.
RUN /opt/venv/bin/python -m compileall -q .

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/groupsite /srv/groupsite
# The one place that is written, beside /tmp: avatars, and SQLite's file where that is used.
RUN install -d -o 10001 -g 10001 -m 700 /data
WORKDIR /srv/groupsite
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8000 \
    MEDIA_ROOT=/data/media \
    DATABASE_URL=sqlite:////data/db.sqlite3
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os; from http.client import HTTPConnection; line = HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); line.request('GET', '/livez'); raise SystemExit(line.getresponse().status != 200)"]
CMD ["gunicorn", "groupsite.wsgi:application"]
