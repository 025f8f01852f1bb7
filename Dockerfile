FROM python:3.13-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/mockserver

# Install the dependencies in a separate layer, so that a change of the source does not download them again.
COPY pyproject.toml .ci/constraints.txt ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && pip --python /opt/mockserver install --quiet --requirement requirements.txt --constraint constraints.txt

COPY README.md LICENSE ./
COPY mockserver mockserver
RUN pip --python /opt/mockserver install --quiet --no-deps .


FROM python:3.13-slim

LABEL org.opencontainers.image.title="mockserver" \
      org.opencontainers.image.description="A local, stateful mock server of the OpenAI Containers API"

# Slim images have no bytecode of the standard library, and the user below cannot write it, so that each start would
# compile it again. /data is writable for everyone because of `docker run --user`.
RUN python -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip|site-packages)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && install -d -m 0777 /data \
    && install -d /seeds

COPY --from=build /opt/mockserver /opt/mockserver

# Settings are environment variables, so that arguments of `docker run` override single settings.
ENV PATH=/opt/mockserver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MOCKSERVER_HOST=0.0.0.0,:: \
    MOCKSERVER_PORT=8080 \
    MOCKSERVER_DATA=/data \
    MOCKSERVER_SEED=/seeds \
    MOCKSERVER_CONTROL_OPEN=1

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=3s --timeout=3s --start-period=30s --retries=3 CMD ["mockserver", "healthcheck"]
ENTRYPOINT ["mockserver"]
CMD ["serve"]
