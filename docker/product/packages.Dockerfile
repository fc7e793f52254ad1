# The packages of requirements.lock, without those of the group dev. Built by docker/images.py, which
# unpacks their wheels here: the build itself needs no package index.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

# Every version records the commit of its project.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && git config --system --add safe.directory '*'

COPY packages /opt/mlops/packages
# Without bytecode every process would compile some thousand modules first. Some files are of Python 2.
RUN python3 -m compileall -q -j 0 -x '/tests?/' --invalidation-mode unchecked-hash /opt/mlops/packages || true; \
    site=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
 && mkdir -p "$site" \
 && printf '/opt/mlops/library\n/opt/mlops/packages\n' > "$site/mlops.pth"
