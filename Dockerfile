FROM python:3.12-slim AS build
WORKDIR /srv
COPY requirements.lock ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY app ./app
COPY migrations ./migrations
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e .

FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 kassa
COPY --from=build /venv /venv
COPY --from=build /srv /srv
WORKDIR /srv
USER kassa
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 KASSA_HOST=0.0.0.0 KASSA_LOG_FORMAT=json
EXPOSE 8080
# One image, three commands: api, worker, up (all in one, with embedded PostgreSQL in KASSA_DATA_DIR).
ENTRYPOINT ["crm-kassa"]
CMD ["api"]
